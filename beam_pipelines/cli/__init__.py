"""The command `tb-deepexplain`."""
