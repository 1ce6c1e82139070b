"""Git work spaces (W1–W3, W8): the person's repository, stores, clones, snapshots, the quarantine and the ways out."""
