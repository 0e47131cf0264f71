//! Finding PostgreSQL's programs on this machine.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::install::install_command;

/// The oldest major version that Liftlock works with.
pub const OLDEST: u32 = 15;

/// What must stand beside each other in one directory.
const NEEDED: [&str; 6] = ["postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_restore"];

/// PostgreSQL's programs: one directory that holds the server and its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    directory: PathBuf,
    version: (u32, u32),
}

/// No directory with all of PostgreSQL's programs, in a version that is new enough, was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no PostgreSQL {OLDEST} or later was found on this machine{}", looked_at(.rejected, .install))]
pub struct NotFound {
    rejected: Vec<Rejected>,
    install: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rejected {
    directory: PathBuf,
    from: &'static str,
    reason: String,
}

impl NotFound {
    /// The command that installs PostgreSQL on this system.
    pub fn install_command(&self) -> &str {
        &self.install
    }
}

/// What was looked at, and what to do.
fn looked_at(rejected: &[Rejected], install: &str) -> String {
    let mut text = String::new();
    for Rejected { directory, from, reason } in rejected {
        write!(text, "\n  {} ({from}): {reason}", directory.display())
            .expect("writing to a string cannot fail");
    }
    text + "\n  to install it: "
        + install
        + "\n  or name the directory of its programs in the variable PG_BIN"
}

/// Where to look. Apart from the search itself, so that the search can be tested.
#[derive(Debug, Default)]
struct Places {
    pg_bin: Option<PathBuf>,
    pg_config: Option<PathBuf>,
    path: Vec<PathBuf>,
    packages: Vec<PathBuf>,
}

impl Programs {
    /// Looks for the programs: in the directory that the variable `PG_BIN` names (then nowhere else), where `pg_config
    /// --bindir` points, on `PATH`, and where the packages of Debian, Red Hat and Homebrew put them, newest first.
    pub fn find() -> Result<Self, NotFound> {
        Self::find_in(&Places::of_this_machine())
    }

    fn find_in(places: &Places) -> Result<Self, NotFound> {
        let mut rejected: Vec<Rejected> = Vec::new();
        for (from, directory) in places.candidates() {
            if rejected.iter().any(|other| other.directory == directory) {
                continue;
            }
            match Self::in_directory(&directory) {
                Ok(found) => return Ok(found),
                Err(reason) => rejected.push(Rejected { directory, from, reason }),
            }
        }
        Err(NotFound { rejected, install: install_command() })
    }

    fn in_directory(directory: &Path) -> Result<Self, String> {
        let missing: Vec<&str> =
            NEEDED.into_iter().filter(|name| !directory.join(name).is_file()).collect();
        if !missing.is_empty() {
            return Err(format!("{} is missing", missing.join(", ")));
        }
        let said = Command::new(directory.join("postgres"))
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("postgres does not start: {error}"))?;
        let text = String::from_utf8_lossy(&said.stdout);
        let version = parse_version(&text)
            .ok_or_else(|| format!("`postgres --version` says {:?}", text.trim()))?;
        if version.0 < OLDEST {
            return Err(format!("it is version {}, too old", version.0));
        }
        Ok(Self { directory: directory.to_owned(), version })
    }

    /// The path of one of the programs, such as `pg_dump`.
    pub fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// The directory that holds them.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Major and minor version, such as (15, 18). A beta or development version has the minor version 0.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }
}

impl Places {
    fn of_this_machine() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut packages = Vec::new();
        packages.extend(newest_first("/usr/lib/postgresql", "", "bin"));
        packages.extend(newest_first("/usr", "pgsql-", "bin"));
        packages.extend(newest_first("/opt/homebrew/opt", "postgresql@", "bin"));
        packages.extend(newest_first("/usr/local/opt", "postgresql@", "bin"));
        Self {
            pg_bin: std::env::var_os("PG_BIN").filter(|v| !v.is_empty()).map(PathBuf::from),
            pg_config: asked_of_pg_config(),
            path: std::env::split_paths(&path).collect(),
            packages,
        }
    }

    fn candidates(&self) -> Vec<(&'static str, PathBuf)> {
        if let Some(directory) = &self.pg_bin {
            return vec![("named by PG_BIN", directory.clone())];
        }
        let on_path = self.path.iter().filter(|directory| directory.join("initdb").is_file());
        let mut all: Vec<(&'static str, PathBuf)> = Vec::new();
        all.extend(self.pg_config.iter().map(|d| ("named by pg_config", d.clone())));
        all.extend(on_path.map(|d| ("on PATH", d.clone())));
        all.extend(self.packages.iter().map(|d| ("a package's place", d.clone())));
        all
    }
}

fn asked_of_pg_config() -> Option<PathBuf> {
    let said = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    Some(text.trim()).filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// `parent/<prefix><version>/<leaf>` for every version that is there, the highest version first.
fn newest_first(parent: &str, prefix: &str, leaf: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join(leaf)))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split("(PostgreSQL)").nth(1)?.split_whitespace().next()?;
    let digits = |part: &str| -> Option<u32> {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse().ok()
    };
    let mut parts = version.split('.');
    let major = digits(parts.next()?)?;
    Some((major, parts.next().and_then(digits).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory that looks like an installation of PostgreSQL `version`.
    fn installation(parent: &Path, name: &str, version: &str) -> PathBuf {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for program in NEEDED {
            let path = directory.join(program);
            std::fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"))
                .unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    #[test]
    fn versions_are_read() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some((15, 18)));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1\n"), Some((18, 0)));
        assert_eq!(parse_version("cat (GNU coreutils) 9.1\n"), None);
    }

    #[test]
    fn pg_bin_alone_counts_when_it_is_set() {
        let top = tempfile::tempdir().unwrap();
        let good = installation(top.path(), "good", "16.3");
        let places = Places {
            pg_bin: Some(top.path().join("nothing-here")),
            path: vec![good.clone()],
            ..Places::default()
        };
        let error = Programs::find_in(&places).unwrap_err().to_string();
        assert!(error.contains("nothing-here (named by PG_BIN): postgres, initdb"), "{error}");

        let found = Programs::find_in(&Places { pg_bin: Some(good.clone()), ..places }).unwrap();
        assert_eq!((found.directory(), found.version()), (good.as_path(), (16, 3)));
    }

    #[test]
    fn an_old_or_incomplete_installation_is_passed_over_and_named() {
        let top = tempfile::tempdir().unwrap();
        let old = installation(top.path(), "old", "13.9");
        let client_only = installation(top.path(), "client", "17.1");
        std::fs::remove_file(client_only.join("initdb")).unwrap();
        let good = installation(top.path(), "good", "17.1");
        let mut places = Places {
            pg_config: Some(client_only),
            path: vec![old],
            packages: vec![good.clone()],
            ..Places::default()
        };
        assert_eq!(Programs::find_in(&places).unwrap().directory(), good);

        places.packages.clear();
        let error = Programs::find_in(&places).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("client (named by pg_config): initdb is missing"), "{text}");
        assert!(text.contains("old (on PATH): it is version 13, too old"), "{text}");
        assert!(text.contains(error.install_command()), "{text}");
    }
}
