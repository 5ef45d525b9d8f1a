"""Where rollouts run: one file per runtime, behind the provider contract of `base`."""
