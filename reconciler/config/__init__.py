"""config.toml and its secrets → one frozen Settings; every problem at once, each with file, line and column."""

from reconciler.config.loading import load, load_secret
from reconciler.config.rules import Schedule
from reconciler.config.secret import Secret
from reconciler.config.settings import (
    AttachmentsSettings,
    GitLabSettings,
    LedgerSettings,
    LogSettings,
    MappingSettings,
    MetricsSettings,
    NotifySettings,
    RallySettings,
    ResultsSettings,
    Settings,
    SprintsSettings,
)
from reconciler.config.urls import Address

__all__ = [
    "Address",
    "AttachmentsSettings",
    "GitLabSettings",
    "LedgerSettings",
    "LogSettings",
    "MappingSettings",
    "MetricsSettings",
    "NotifySettings",
    "RallySettings",
    "ResultsSettings",
    "Schedule",
    "Secret",
    "Settings",
    "SprintsSettings",
    "load",
    "load_secret",
]
