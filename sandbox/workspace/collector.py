"""Runs inside a node's isolation: commits the work tree as it stands and writes it as a bundle. Stdlib only.

    python -I -S collector.py --work DIR --base COMMIT --node NODE --out FILE [caps]

It prints one JSON object: `{commit, head, tree, bundle, bytes, skipped: [{path, why}], skipped_total}`, or
`{error, message}` with exit code 1. Nothing is written in the node's repository and its config is not read for the
snapshot: index, objects and refs are those of a temporary bare repository that borrows the node's objects. So no hook,
filter or fsmonitor runs, no lock collides with the node's own git, and skip-worktree bits hide nothing.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

RESULT_REF = "refs/palmette/result"
SKIPPED_NAMED = 100
GUARDS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.sparseCheckout=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
)


class Refusal(Exception):
    """Ends the run with a code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Git:
    """Git calls with a clean environment and one deadline for all of them."""

    def __init__(self, deadline: float, environment: dict[str, str]) -> None:
        self._deadline = deadline
        self._environment = environment

    def __call__(self, *arguments: str, stdin: bytes = b"", accept: tuple[int, ...] = (0,)) -> tuple[int, bytes, str]:
        command = ["git", "--no-pager"]
        for setting in GUARDS:
            command += ["-c", setting]
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(stdin, timeout=max(0.1, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Refusal("snapshot_timeout", "the work tree took too long to be committed") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        said = err.decode("utf-8", "backslashreplace").strip()
        if process.returncode == -signal.SIGXFSZ or "File too large" in said:
            raise Refusal("snapshot_too_big", "the result is bigger than its cap")
        if process.returncode not in accept or "No space left" in said:
            raise Refusal("snapshot_failed", f"git failed with {process.returncode}: {said[-400:]}")
        return process.returncode, out, said


def escapes(directory: str, target: str) -> bool:
    """Whether a link in `directory` (relative to the top, "" for the top) to `target` points out of the tree."""
    if os.path.isabs(target):
        return True
    depth = len([part for part in directory.split("/") if part])
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in ("", "."):
            depth += 1
    return False


def kind_of(mode: int) -> str:
    """What a file that is neither regular, directory nor link is called."""
    for test, name in ((stat.S_ISFIFO, "fifo"), (stat.S_ISSOCK, "socket"), (stat.S_ISBLK, "block device")):
        if test(mode):
            return name
    return "device"


def survey(work: str, ignored: set[str], caps: argparse.Namespace, deadline: float) -> list[tuple[str, str]]:
    """Walk the tree without following a link; return what must stay out, as (path, why)."""
    out: list[tuple[str, str]] = []
    pending = [""]
    seen = total = 0
    while pending:
        directory = pending.pop()
        if time.monotonic() > deadline:
            raise Refusal("snapshot_timeout", "the work tree took too long to be read")
        try:
            entries = list(os.scandir(os.path.join(work, directory)))
        except OSError as error:
            if not directory:
                raise
            out.append((directory, f"unreadable: {error.strerror}"))
            continue
        for entry in entries:
            path = f"{directory}/{entry.name}" if directory else entry.name
            if entry.name == ".git" or path in ignored:
                continue
            seen += 1
            if seen > caps.max_files:
                raise Refusal("snapshot_too_big", f"the work tree holds more than {caps.max_files} files")
            try:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    if os.path.lexists(os.path.join(work, path, ".git")):
                        out.append((path, "nested repository"))
                    else:
                        pending.append(path)
                elif stat.S_ISLNK(status.st_mode):
                    if escapes(directory, os.readlink(entry.path)):
                        out.append((path, "link out of the tree"))
                elif not stat.S_ISREG(status.st_mode):
                    out.append((path, kind_of(status.st_mode)))
                elif status.st_size > caps.max_file_bytes:
                    out.append((path, f"bigger than {caps.max_file_bytes} bytes"))
                else:
                    total += status.st_size
            except OSError:
                continue  # gone while we looked: the node is still at work
        if total > caps.max_tree_bytes:
            raise Refusal("snapshot_too_big", f"the work tree is bigger than {caps.max_tree_bytes} bytes")
    return out


def as_committed(work: str, path: str, at: tuple[str, ...], git: Git) -> bool:
    """Whether something unusual was there already in HEAD: the same link, a file no bigger, a submodule."""
    _, out, _ = git(*at, "ls-files", "-z", "--stage", "--", f":(top,literal){path}")
    mode, _, rest = out.partition(b" ")
    if not mode or mode == b"160000" or b"\0" in out[:-1]:
        return mode == b"160000"
    name = rest[:40].decode()
    full = os.path.join(work, path)
    try:
        status = os.lstat(full)
        if stat.S_ISLNK(status.st_mode):
            return mode == b"120000" and git(*at, "cat-file", "blob", name)[1] == os.fsencode(os.readlink(full))
        return stat.S_ISREG(status.st_mode) and int(git(*at, "cat-file", "-s", name)[1]) >= status.st_size
    except OSError:
        return False


def set_up(temporary: str, work: str, git: Git) -> str:
    """Make the temporary repository that borrows the node's objects; return its path."""
    _, found, _ = git("-C", work, "rev-parse", "--absolute-git-dir", "--git-path", "objects", "--git-path", "shallow")
    _, objects, shallow = (os.path.join(work, line) for line in os.fsdecode(found).rstrip("\n").split("\n"))
    repository = os.path.join(temporary, "snapshot.git")
    git("init", "--quiet", "--bare", "--template=", repository)
    os.makedirs(os.path.join(repository, "objects/info"), exist_ok=True)
    with open(os.path.join(repository, "objects/info/alternates"), "w", errors="surrogateescape") as file:
        file.write(os.path.realpath(objects) + "\n")
    if os.path.isfile(shallow):
        shutil.copyfile(shallow, os.path.join(repository, "shallow"))
    return repository


def parent_of(work: str, base: str, at: tuple[str, ...], git: Git) -> str:
    """The node's HEAD where it descends from base; else base, so that odd histories lose no work."""
    code, out, _ = git("-C", work, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", accept=(0, 1, 128))
    head = out.decode().strip()
    if code != 0 or git(*at, "merge-base", "--is-ancestor", base, head, accept=(0, 1, 128))[0] != 0:
        return base
    return head


def collect(options: argparse.Namespace, temporary: str) -> dict[str, object]:
    """Make snapshot and bundle; return the report."""
    deadline = time.monotonic() + options.seconds
    work, base = os.path.realpath(options.work), options.base
    environment = {
        "PATH": os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"),
        "HOME": temporary,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_AUTHOR_NAME": f"palmette {options.node}",
        "GIT_AUTHOR_EMAIL": options.email,
        "GIT_COMMITTER_NAME": f"palmette {options.node}",
        "GIT_COMMITTER_EMAIL": options.email,
        "TMPDIR": temporary,
    }
    git = Git(deadline, environment)
    at = (f"--git-dir={set_up(temporary, work, git)}",)
    tree_at = (*at, f"--work-tree={work}", "-C", work)
    git(*at, "cat-file", "-e", f"{base}^{{commit}}")
    head = parent_of(work, base, at, git)
    git(*at, "read-tree", head)

    _, listing, _ = git(*tree_at, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    ignored = {os.fsdecode(path).rstrip("/") for path in listing.split(b"\0") if path}
    found = survey(work, ignored, options, deadline)
    skipped = [(path, why) for path, why in found if not as_committed(work, path, at, git)]
    pathspec = [":(top)"] + [f":(top,exclude,literal){path}" for path, _ in skipped]
    code, _, said = git(
        *tree_at,
        "add",
        "--all",
        "--ignore-errors",
        "--pathspec-from-file=-",
        "--pathspec-file-nul",
        stdin=b"\0".join(os.fsencode(item) for item in pathspec),
        accept=(0, 1),  # 1: some file vanished or could not be read; the others are in, and it is named
    )
    if code == 1:
        skipped += [(line[:300], "git could not add it") for line in said.splitlines() if line.startswith("error: ")]
    _, tree, _ = git(*at, "write-tree")
    _, head_tree, _ = git(*at, "rev-parse", f"{head}^{{tree}}")
    _, last_message, _ = git(*at, "log", "-1", "--format=%(trailers:key=Palmette-Node,valueonly)", head)
    unchanged = tree == head_tree and (head == base or options.node in last_message.decode().split())
    commit = head
    if not unchanged:
        message = f"{options.subject}\n\nPalmette-Node: {options.node}\n"
        _, made, _ = git(*at, "commit-tree", "-p", head, "-F", "-", tree.decode().strip(), stdin=message.encode())
        commit = made.decode().strip()

    size = 0
    if commit != base:
        git(*at, "update-ref", RESULT_REF, commit)
        partial = os.path.join(temporary, "result.bundle")
        git(*at, "bundle", "create", "--quiet", partial, RESULT_REF, f"^{base}")
        size = os.path.getsize(partial)
        if size > options.max_bundle_bytes:
            raise Refusal("snapshot_too_big", f"the result is bigger than {options.max_bundle_bytes} bytes")
        os.replace(partial, options.out)
    return {
        "commit": commit,
        "head": head,
        "tree": tree.decode().strip(),
        "bundle": commit != base,
        "bytes": size,
        "skipped": [
            {"path": os.fsencode(path).decode("utf-8", "backslashreplace"), "why": why}
            for path, why in skipped[:SKIPPED_NAMED]
        ],
        "skipped_total": len(skipped),
    }


def main() -> int:
    """Parse the arguments, collect, print the report; 0 or 1."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("work", "base", "node", "email", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--subject", default="Work tree as it stood")
    parser.add_argument("--max-files", type=int, default=200_000)
    parser.add_argument("--max-file-bytes", type=int, default=100 << 20)
    parser.add_argument("--max-tree-bytes", type=int, default=4 << 30)
    parser.add_argument("--max-bundle-bytes", type=int, default=256 << 20)
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    # Files that grow while they are read cannot outgrow this, whatever the survey saw.
    most = max(options.max_file_bytes, options.max_bundle_bytes) + (1 << 20)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.umask(0o077)
    temporary = tempfile.mkdtemp(prefix=".collect-", dir=os.path.dirname(os.path.abspath(options.out)))
    try:
        report = collect(options, temporary)
    except Refusal as refusal:
        print(json.dumps({"error": refusal.code, "message": refusal.message}))
        return 1
    except OSError as error:
        print(json.dumps({"error": "snapshot_failed", "message": f"{error.strerror}: {error.filename!r}"}))
        return 1
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
