"""A stand-in GitLab and Rally that speak the real wire formats on loopback: for `demo`, and the tests' other side."""
