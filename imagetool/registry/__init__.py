"""The registry half of imagetool: challenges, credentials, registries.conf, HTTP, pull and push.

Importing this package costs nothing; its modules are imported by those who go to the network.
"""
