"""The host agent: serves VDSM's verbs over a storage domain on local files, and runs the jobs that they start."""
