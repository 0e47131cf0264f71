//! `postmaster.pid`: what a running server says of itself (PostgreSQL's `src/include/utils/pidfile.h`).

use std::path::Path;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockFile {
    pub(crate) pid: u32,
    pub(crate) port: u16,
    pub(crate) ready: bool,
}

impl LockFile {
    /// Reads the lock file of the data directory `data`; none if there is none or it is only half written.
    pub(crate) fn read(data: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(data.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        Some(Self {
            pid: lines.first()?.trim().parse().ok()?,
            port: lines.get(3)?.trim().parse().ok()?,
            ready: lines.get(7).is_some_and(|status| status.trim() == "ready"),
        })
    }

    /// Whether the process that wrote the file is still there.
    pub(crate) fn is_alive(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw)
        else {
            return false;
        };
        // Not permitted means that it is there and somebody else's.
        !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_read() {
        let text =
            "4711\n/data\n1700000000\n5433\n/sockets\n127.0.0.1\n  5433001  98304\nready   \n";
        assert_eq!(LockFile::parse(text), Some(LockFile { pid: 4711, port: 5433, ready: true }));
        let starting = text.replace("ready   ", "starting");
        assert!(!LockFile::parse(&starting).unwrap().ready);
        assert_eq!(LockFile::parse("4711\n/data\n"), None);
    }
}
