//! Whom the server runs as. PostgreSQL refuses to run as root, so root hands it to an account without rights.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::ClusterError;

/// An account of this system, other than root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: &'static str,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// The account that the server must run as: none when this process is not root's, since then it is this process's
    /// own.
    pub(crate) fn for_server() -> Result<Option<Self>, ClusterError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let found = ["postgres", "nobody"].into_iter().find_map(Self::by_name);
        found.map(Some).ok_or(ClusterError::NoAccount)
    }

    fn by_name(name: &'static str) -> Option<Self> {
        Some(Self { name, uid: id_of("-u", name)?, gid: id_of("-g", name)? })
    }

    /// Whether this account can enter `directory`.
    pub(crate) fn reaches(&self, directory: &Path) -> bool {
        // Asked of the kernel, as that account, since modes alone do not tell (access control lists, mounts).
        Command::new("test")
            .arg("-x")
            .arg(directory)
            .current_dir("/")
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Gives `path` to this account.
    pub(crate) fn own(&self, path: &Path) -> std::io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }
}

fn id_of(flag: &str, name: &str) -> Option<u32> {
    let said = Command::new("id").args([flag, name]).stderr(Stdio::null()).output().ok()?;
    let id: u32 = String::from_utf8(said.stdout).ok()?.trim().parse().ok()?;
    (id != 0).then_some(id)
}
