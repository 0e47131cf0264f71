//! Where a cluster's files are, and how they are made.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::account::Account;
use crate::error::ClusterError;
use crate::programs::Programs;
use crate::run;

/// The name, in the asked-for directory, of the link to the place that was used instead.
const ELSEWHERE: &str = "elsewhere";
/// How long `initdb` may take. It takes one second; a slow disk that syncs may take many.
const INITDB_LIMIT: Duration = Duration::from_secs(180);

/// The directory of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// The directory that was asked for.
    pub(crate) asked: PathBuf,
    /// The directory that is used: another one only where the server's account cannot reach the asked-for one.
    root: PathBuf,
    pub(crate) account: Option<Account>,
}

impl Home {
    /// Finds or makes the directory. As root it is given to the server's account; where that account cannot reach it,
    /// a directory under the system's temporary directory is used, and a link `elsewhere` in the asked-for one tells.
    pub(crate) fn open(directory: &Path) -> Result<Self, ClusterError> {
        let account = Account::for_server()?;
        let made = make_private(directory).and_then(|()| directory.canonicalize());
        let asked = made.map_err(|error| ClusterError::directory(directory, &error))?;
        let root = match &account {
            None => asked.clone(),
            Some(account) => owned_root(&asked, account)?,
        };
        Ok(Self { asked, root, account })
    }

    /// The directory as an earlier process left it; nothing is made.
    pub(crate) fn existing(directory: &Path) -> Result<Option<Self>, ClusterError> {
        if !directory.is_dir() {
            return Ok(None);
        }
        let read = |error| ClusterError::directory(directory, &error);
        let asked = directory.canonicalize().map_err(read)?;
        let root = std::fs::read_link(asked.join(ELSEWHERE)).unwrap_or_else(|_| asked.clone());
        let home = Self { asked, root, account: Account::for_server()? };
        Ok(home.data().is_dir().then_some(home))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    fn password_file(&self) -> PathBuf {
        self.root.join("password")
    }

    /// The superuser's password.
    pub(crate) fn password(&self) -> Result<SecretString, ClusterError> {
        let path = self.password_file();
        let text = std::fs::read_to_string(&path);
        text.map(|text| text.trim_end().into())
            .map_err(|error| ClusterError::directory(path, &error))
    }

    /// Removes everything: the place that was used, and the directory that was asked for.
    pub(crate) fn remove(&self) -> Result<(), ClusterError> {
        for path in [&self.root, &self.asked] {
            match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ClusterError::directory(path, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the data directory if it is not there, and checks that these programs can run it.
    pub(crate) async fn prepare(
        &self,
        programs: &Programs,
        sync: bool,
    ) -> Result<(), ClusterError> {
        if !self.data().exists() {
            self.initialise(programs, sync).await?;
        }
        let path = self.data().join("PG_VERSION");
        let found =
            std::fs::read_to_string(&path).map_err(|e| ClusterError::directory(&path, &e))?;
        let data = run::printable(found.trim());
        if data == programs.version().0.to_string() {
            return Ok(());
        }
        let (path, bin) = (self.asked.clone(), programs.directory().to_owned());
        Err(ClusterError::Version { path, data, programs: programs.version().0, bin })
    }

    async fn initialise(&self, programs: &Programs, sync: bool) -> Result<(), ClusterError> {
        self.write_password()?;
        // Made beside its place and moved there when whole: what a killed `initdb` leaves is never taken for a cluster.
        let half_made = self.root.join("data.new");
        if half_made.exists() {
            let removed = std::fs::remove_dir_all(&half_made);
            removed.map_err(|error| ClusterError::directory(&half_made, &error))?;
        }
        let mut command = run::command(&programs.path("initdb"), self.account.as_ref());
        command.args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        command.arg("--pwfile").arg(self.password_file()).arg("--pgdata").arg(&half_made);
        if !sync {
            command.arg("--no-sync");
        }
        let done = run::finish(command, INITDB_LIMIT).await;
        done.map_err(|error| ClusterError::init(&self.asked, &error))?;
        let moved = std::fs::rename(&half_made, self.data());
        moved.map_err(|error| ClusterError::directory(self.data(), &error))
    }

    fn write_password(&self) -> Result<(), ClusterError> {
        use std::io::Write as _;
        let path = self.password_file();
        let failed = |error: std::io::Error| ClusterError::directory(&path, &error);
        if path.exists() {
            std::fs::remove_file(&path).map_err(failed)?;
        }
        let password = SecretString::from(Alphanumeric.sample_string(&mut rand::rng(), 32));
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        writeln!(file, "{}", password.expose_secret()).map_err(failed)?;
        self.account.as_ref().map_or(Ok(()), |account| account.own(&path)).map_err(failed)
    }
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// The directory that `account` owns and can reach: `asked` itself, or one under the temporary directory.
fn owned_root(asked: &Path, account: &Account) -> Result<PathBuf, ClusterError> {
    let failed = |path: &Path, error: &std::io::Error| ClusterError::directory(path, error);
    let link = asked.join(ELSEWHERE);
    if let Ok(root) = std::fs::read_link(&link) {
        make_private(&root).map_err(|error| failed(&root, &error))?;
        check_owner(&root, account)?;
        account.own(&root).map_err(|error| failed(&root, &error))?;
        return Ok(root);
    }
    if asked.parent().is_none_or(|parent| account.reaches(parent)) {
        account.own(asked).map_err(|error| failed(asked, &error))?;
        return Ok(asked.to_owned());
    }
    let temporary = [std::env::temp_dir(), "/tmp".into()];
    let Some(parent) = temporary.into_iter().find(|directory| account.reaches(directory)) else {
        let reason = format!(
            "the server must run as user {}, who can reach neither it nor the temporary directory",
            account.name
        );
        return Err(ClusterError::Directory { path: asked.to_owned(), reason });
    };
    let made = tempfile::Builder::new().prefix("liftlock-postgres-").tempdir_in(&parent);
    let root = made.map_err(|error| failed(&parent, &error))?.keep();
    account.own(&root).map_err(|error| failed(&root, &error))?;
    std::os::unix::fs::symlink(&root, &link).map_err(|error| failed(&link, &error))?;
    Ok(root)
}

/// A directory in a place where everybody may write is used only if nobody else made it.
fn check_owner(root: &Path, account: &Account) -> Result<(), ClusterError> {
    let seen = std::fs::symlink_metadata(root);
    let seen = seen.map_err(|error| ClusterError::directory(root, &error))?;
    if seen.is_dir() && [0, account.uid].contains(&seen.uid()) {
        return Ok(());
    }
    let reason = format!("it belongs to neither root nor {}: remove it", account.name);
    Err(ClusterError::Directory { path: root.to_owned(), reason })
}
