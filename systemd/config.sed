# Makes of the example config.toml one for the units: secrets from systemd's credentials, files in the state directory.
s|^token = "env:GITLAB_TOKEN"$|token = "credential:gitlab_token"|
s|^api_key = "env:RALLY_API_KEY"$|api_key = "credential:rally_api_key"|
s|^path = "ledger\.db"$|path = "/var/lib/reconciler/ledger.db"|
s|^file = "mapping\.csv"$|file = "/var/lib/reconciler/mapping.csv"|
