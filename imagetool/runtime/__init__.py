"""Running containers: the plan (an OCI runtime-spec config.json), the executors that carry it out, networks.

`options`, `plan`, `users` and `seccomp_default` decide and touch nothing; `sandbox` and `oci` are executors;
`entry`, `rootfs`, `identity`, `inroot` and `linux` are what runs inside the new namespaces and import little.
"""
