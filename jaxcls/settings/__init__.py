"""Configs: `config_file` loads files and settings, `reader` holds a config against the defaults."""
