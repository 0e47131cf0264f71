//! What types and ranges cannot say: how the parts of an environment fit together.

use std::collections::BTreeSet;
use std::path::{Component, Path};
use std::time::Duration;

use crate::Period;
use crate::chain;
use crate::config::{
    Backend, Config, Engine, Fleet, FleetDatabases, SecretSource, Smoke, Snapshot, SnapshotMethod,
};
use crate::load::Environment;
use crate::problem::Finding;
use crate::source::Sources;
use crate::tree::Node;
use crate::{gates, services, switch};
use liftlock_model::MigrationId;

/// Everything that is wrong with an environment whose keys and types are right.
pub(crate) fn check(environment: &Environment, tree: &Node, sources: &mut Sources) -> Vec<Finding> {
    let mut checks = Checks { tree, found: Vec::new() };
    infrastructure(&environment.config, &mut checks);
    database(&environment.config, &mut checks);
    probes(&environment.config, &mut checks);
    notifications(&environment.config, &mut checks);
    services::check(environment, &mut checks);
    switch::check(&environment.config, &mut checks);
    gates::check(&environment.config.gates, &mut checks);
    if let Some(approvals) = &environment.config.rollback.approvals {
        gates::check_approvals("rollback", approvals, &mut checks);
    }
    let mut found = checks.found;
    found.extend(chain::check(environment, tree, sources));
    found
}

/// What was found so far, and the tree that knows the places.
pub(crate) struct Checks<'a> {
    tree: &'a Node,
    found: Vec<Finding>,
}

impl Checks<'_> {
    /// Reports the value at `path`.
    pub(crate) fn value(
        &mut self,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Finding::at(self.tree.place(path), message).help(help));
    }

    /// Reports the key at `path`, and the file's beginning if it is nowhere.
    pub(crate) fn key(
        &mut self,
        path: &[&str],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Finding::at(self.tree.key_place(path), message).help(help));
    }

    /// Names must differ, since people and the ledger tell things by them.
    fn names<'n>(&mut self, table: &[&str], names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                let index = index.to_string();
                let path = [table, &[index.as_str(), "name"]].concat();
                let message = format!("there are two `{}` named `{name}`", table.join("."));
                self.value(&path, message, "give each a name of its own");
            }
        }
    }

    /// A path must stay in the repository, since environments are read on other machines, too.
    pub(crate) fn inside(&mut self, path: &[&str], value: &Path) {
        let stays =
            value.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !stays || value.as_os_str().is_empty() {
            let message = format!("`{}` is not a path inside the repository", path.join("."));
            self.value(
                path,
                message,
                "write it from the repository's top, without `..` or a leading `/`",
            );
        }
    }

    pub(crate) fn http(&mut self, path: &[&str], value: Option<&url::Url>) {
        if value
            .is_some_and(|url| !matches!(url.scheme(), "http" | "https") || url.host().is_none())
        {
            let message = format!("`{}` is not an HTTP address", path.join("."));
            self.value(path, message, "it begins with `http://` or `https://` and names a host");
        }
    }

    /// A limit of no time is either none at all (PostgreSQL) or reached at once.
    pub(crate) fn takes_time(&mut self, path: &[&str], value: Period) {
        if value.duration() < Duration::from_millis(1) {
            let message = format!("`{}` is no time at all", path.join("."));
            self.value(path, message, "allowed: `1ms` or more");
        }
    }

    /// A request path begins with a slash.
    pub(crate) fn request_path(&mut self, path: &[&str], value: &str) {
        if !value.starts_with('/') {
            let message = format!("`{}` is not a request path", path.join("."));
            self.value(path, message, "it begins with `/`");
        }
    }

    pub(crate) fn secret(&mut self, path: &[&str], source: &SecretSource, engine: Engine) {
        let whole = |last| [path, &[last]].concat();
        match source {
            SecretSource::Stage {} if engine != Engine::Stage => {
                let message = format!(
                    "`{}` comes from the stage, which this environment is not on",
                    path.join(".")
                );
                let help = "`from = \"stage\"` goes with `infrastructure.engine = \"stage\"` only; \
                            allowed here: `env`, `ssm`, `file`, `command`";
                self.value(&whole("from"), message, help);
            }
            SecretSource::Command { program } if program.first().is_none_or(String::is_empty) => {
                let message = format!("`{}.program` names no program", path.join("."));
                let help = "name the program and its arguments, such as \
                            `[\"doppler\", \"secrets\", \"get\", \"DATABASE_URL\", \"--plain\"]`";
                self.value(&whole("program"), message, help);
            }
            SecretSource::Env { variable }
                if variable.is_empty() || variable.contains(['=', '\0']) =>
            {
                let message = format!(
                    "`{}.variable` is not the name of an environment variable",
                    path.join(".")
                );
                self.value(&whole("variable"), message, "name one such as `DATABASE_URL`");
            }
            // A secret's file is the one path that may lie outside: that is where secrets belong.
            _ => {}
        }
    }
}

fn infrastructure(config: &Config, checks: &mut Checks<'_>) {
    checks.http(&["aws", "endpoint"], config.aws.endpoint.as_ref());
    let infrastructure = &config.infrastructure;
    checks.inside(&["infrastructure", "root"], &infrastructure.root);
    checks.takes_time(&["infrastructure", "timeout"], infrastructure.timeout);
    match &infrastructure.backend {
        Some(Backend::S3 { endpoint, .. }) => {
            checks.http(&["infrastructure", "backend", "endpoint"], endpoint.as_ref());
        }
        Some(Backend::Local { path }) => checks.inside(&["infrastructure", "backend", "path"], path),
        None if infrastructure.engine == Engine::Stage => {}
        None => checks.key(
            &["infrastructure", "engine"],
            "`infrastructure.backend` is missing: where is the state kept?",
            "add `[infrastructure.backend]` with `kind = \"s3\"`, `bucket` and `key`; only `engine = \"stage\"` needs none",
        ),
    }
    if let Some(workspace) = &infrastructure.workspace {
        // What `terraform workspace new` takes, and what cannot be mistaken for an option.
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if workspace.is_empty() || workspace.starts_with('-') || !workspace.chars().all(fine) {
            let help = "letters, digits, `-`, `_` and `.`; left out, it is the environment's name";
            checks.value(
                &["infrastructure", "workspace"],
                "this cannot be a workspace's name",
                help,
            );
        }
    }
}

fn database(config: &Config, checks: &mut Checks<'_>) {
    let engine = config.infrastructure.engine;
    if let Some(url) = &config.ledger.url {
        checks.secret(&["ledger", "url"], url, engine);
    }
    let Some(database) = &config.database else { return };
    checks.secret(&["database", "url"], &database.url, engine);
    let migrations = &database.migrations;
    checks.inside(&["database", "migrations", "directory"], &migrations.directory);
    checks.takes_time(&["database", "migrations", "lock_timeout"], migrations.lock_timeout);
    checks
        .takes_time(&["database", "migrations", "statement_timeout"], migrations.statement_timeout);
    checks
        .takes_time(&["database", "migrations", "concurrent_budget"], migrations.concurrent_budget);
    checks.takes_time(&["database", "migrations", "alert_after"], migrations.alert_after);
    if let Some(first) = &migrations.lint.ignore_before
        && MigrationId::parse_version(first).is_err()
    {
        checks.value(
            &["database", "migrations", "lint", "ignore_before"],
            format!("`{first}` is not a migration's number"),
            "such as `V0041`",
        );
    }
    if let Some(snapshot) = &database.snapshot {
        checks.takes_time(&["database", "snapshot", "timeout"], snapshot.timeout);
        fits_method(snapshot, checks);
    }
    if let Some(fleet) = &database.fleet {
        check_fleet(fleet, checks);
        let dumps = database.snapshot.as_ref().map(|snapshot| snapshot.method);
        if dumps == Some(SnapshotMethod::PgDump) {
            checks.value(
                &["database", "snapshot", "method"],
                "`pg_dump` saves one database, and the environment has a fleet",
                "say `method = \"rds\"`, which saves the whole instance, or leave `[database.snapshot]` out",
            );
        }
    }
}

fn check_fleet(fleet: &Fleet, checks: &mut Checks<'_>) {
    let place = |last| ["database", "fleet", last];
    let inner = |last| ["database", "fleet", "databases", last];
    if fleet.waves.is_empty() || !fleet.waves.is_sorted_by(|one, two| one < two) {
        let help = "percent of the databases after the canary, rising, such as `[10, 50, 100]`";
        checks.value(&place("waves"), "the waves do not rise", help);
    }
    match &fleet.databases {
        FleetDatabases::List { names } => {
            let mut seen = BTreeSet::new();
            let twice = names.iter().find(|name| name.is_empty() || !seen.insert(name.as_str()));
            if let Some(name) = twice {
                let message = format!("`{name}` is empty or stands there twice");
                checks.value(&inner("names"), message, "name each database once");
            }
            if let Some(canary) = fleet.canary.as_ref().filter(|canary| !names.contains(canary)) {
                let message = format!("the canary `{canary}` is none of the fleet's databases");
                checks.value(
                    &place("canary"),
                    message,
                    "name one of `database.fleet.databases.names`",
                );
            }
        }
        FleetDatabases::Query { sql } if sql.trim().is_empty() => {
            checks.value(
                &inner("sql"),
                "the query is empty",
                "such as `select datname from pg_database where datname like 'shop_%'`",
            );
        }
        FleetDatabases::Ssm { path } if !path.starts_with('/') || path.len() < 2 => {
            checks.value(
                &inner("path"),
                "this is not a path of parameters",
                "it begins with `/`, such as `/shop/prod/databases`",
            );
        }
        FleetDatabases::Query { .. } | FleetDatabases::Ssm { .. } => {}
    }
}

/// What is only for the other method would be ignored in silence.
fn fits_method(snapshot: &Snapshot, checks: &mut Checks<'_>) {
    let place = |last| ["database", "snapshot", last];
    match (snapshot.method, &snapshot.directory, &snapshot.instance) {
        (SnapshotMethod::PgDump, None, _) => checks.value(
            &place("method"),
            "snapshots by `pg_dump` need a directory",
            "name it: `directory = \"…\"`, on a disk that outlives this machine's",
        ),
        (SnapshotMethod::PgDump, _, Some(_)) => checks.key(
            &place("instance"),
            "`instance` is for snapshots by `rds`",
            "leave it out, or say `method = \"rds\"`",
        ),
        (SnapshotMethod::Rds, Some(_), _) => checks.key(
            &place("directory"),
            "`directory` is for snapshots by `pg_dump`",
            "leave it out, or say `method = \"pg_dump\"`",
        ),
        _ => {}
    }
}

fn probes(config: &Config, checks: &mut Checks<'_>) {
    let probes = &config.probes;
    checks.http(&["probes", "url"], probes.url.as_ref());
    checks.http(&["probes", "test_url"], probes.test_url.as_ref());
    checks.takes_time(&["probes", "timeout"], probes.timeout);
    let name = |smoke: &'_ Smoke| match smoke {
        Smoke::Http { name, .. } | Smoke::Sql { name, .. } => name.clone(),
    };
    let names: Vec<String> = probes.smoke.iter().map(name).collect();
    checks.names(&["probes", "smoke"], names.iter().map(String::as_str));
    for (index, smoke) in probes.smoke.iter().enumerate() {
        let index = index.to_string();
        let at = |key| ["probes", "smoke", index.as_str(), key];
        match smoke {
            Smoke::Http { path, method, body, .. } => {
                checks.request_path(&at("path"), path);
                if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase()) {
                    checks.value(
                        &at("method"),
                        "this is not a request method",
                        "such as `GET` or `POST`",
                    );
                }
                let json = body.as_deref().map(serde_json::from_str::<serde::de::IgnoredAny>);
                if let Some(Err(why)) = json {
                    checks.value(
                        &at("body"),
                        format!("the body is not JSON: {why}"),
                        "write JSON as text",
                    );
                }
            }
            Smoke::Sql { .. } if config.database.is_none() => checks.value(
                &at("kind"),
                "a test by SQL needs a database, and the environment has none",
                "add `[database]`, or take the test out",
            ),
            Smoke::Sql { .. } => {}
        }
    }
}

fn notifications(config: &Config, checks: &mut Checks<'_>) {
    let parts = config.notifications.iter().map(|notification| match notification {
        crate::config::Notification::Slack { name, url, .. } => (name.as_str(), url),
    });
    checks.names(&["notifications"], parts.clone().map(|(name, _)| name));
    for (index, (_, url)) in parts.enumerate() {
        checks.secret(
            &["notifications", &index.to_string(), "url"],
            url,
            config.infrastructure.engine,
        );
    }
}
