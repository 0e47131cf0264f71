//! Exit codes, the same for every command.

/// How a command ends. CI systems and scripts rely on these numbers; they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed, and rolled back; or, for a command that only looks, found something that must be mended.
    Failed,
    /// 2: configuration or usage error; nothing was touched.
    Usage,
    /// 3: registry, cloud or database authentication failed; nothing was touched.
    Authentication,
    /// 4: refused by a gate; nothing was touched.
    Refused,
    /// 5: waiting for an approval; the same command goes on once it is there.
    Waiting,
    /// 6: failed and not fully rolled back; the message says what is left and the command to run.
    Stuck,
    /// 7: another run holds the environment.
    Held,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Authentication => 3,
            Self::Refused => 4,
            Self::Waiting => 5,
            Self::Stuck => 6,
            Self::Held => 7,
        }
    }
}
