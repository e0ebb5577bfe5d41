"""The subcommands of ``ges-backups``, one module each; heavy imports happen when one runs."""
