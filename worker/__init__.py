"""The service: settings, journal, spool, tasks and the story of one image."""
