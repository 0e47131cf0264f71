//! Reading a directory's files and looking at them, several at a time: thousands of migrations are read before each run.

use std::fs::File;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};

use super::{FileProblem, FoundFile, look_at};

/// How many files make it worth another thread.
const PER_THREAD: usize = 500;
/// How much is read at once; most scripts are smaller.
const AT_ONCE: usize = 64 * 1024;

/// What a file with a good name is, and what is wrong with it.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) found: Option<FoundFile>,
    pub(super) problems: Vec<FileProblem>,
}

impl Looked {
    fn wrong(file: &str, problem: String) -> Self {
        let problem = FileProblem { file: file.to_owned(), line: None, problem };
        Self { found: None, problems: vec![problem] }
    }
}

/// A directory's entry.
struct Name {
    name: String,
    kind: std::fs::FileType,
}

/// Every file that is, or looks like, a migration's, by name.
pub(super) fn read(directory: &Path) -> Vec<Looked> {
    let listed =
        File::open(directory).and_then(|open| Ok((OwnedFd::from(open), names(directory)?)));
    let (open, (names, mut looked)) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            return vec![Looked::wrong(".", format!("the directory cannot be read: {error}"))];
        }
    };
    let look = |names: &[Name]| {
        let mut buffer = vec![0; AT_ONCE];
        let look = |name| read_file(directory, &open, name, &mut buffer);
        names.iter().map(look).collect::<Vec<_>>()
    };
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = names.len().div_ceil(PER_THREAD).clamp(1, processors);
    let mut parts = names.chunks(names.len().div_ceil(threads).max(1));
    let first = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(move || look(part))).collect();
        looked.extend(look(first));
        for other in others {
            looked.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    looked
}

/// The names of what looks like a migration, in order, and what is wrong with others.
fn names(directory: &Path) -> std::io::Result<(Vec<Name>, Vec<Looked>)> {
    let (mut names, mut wrong) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => {
                let problem = "the name is not UTF-8: rename the file";
                wrong.push(Looked::wrong(&name.to_string_lossy(), problem.into()));
                continue;
            }
        };
        if looks_like_migration(&name) {
            match entry.file_type() {
                Ok(kind) => names.push(Name { name, kind }),
                Err(error) => wrong.push(Looked::wrong(&name, unreadable(error))),
            }
        }
    }
    names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok((names, wrong))
}

/// Files that are plainly something else (`README.md`, `.gitkeep`) are left alone.
fn looks_like_migration(name: &str) -> bool {
    let rest = name.strip_prefix(['V', 'v', 'U', 'u']);
    let numbered = rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    !name.starts_with('.') && (numbered || name.to_ascii_lowercase().ends_with(".sql"))
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("it cannot be read: {error}")
}

fn read_file(directory: &Path, open: &OwnedFd, name: &Name, buffer: &mut [u8]) -> Looked {
    match read_bytes(directory, open, name, buffer) {
        Ok(bytes) => look_at(&name.name, bytes),
        Err(problem) => Looked::wrong(&name.name, problem),
    }
}

fn read_bytes(
    directory: &Path,
    open: &OwnedFd,
    Name { name, kind }: &Name,
    buffer: &mut [u8],
) -> Result<Vec<u8>, String> {
    let file = if kind.is_symlink() {
        open_link(directory, name)?
    } else if kind.is_file() {
        // Should it have become a link meanwhile, it is not followed.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(open, name, flags, Mode::empty()).map_err(unreadable)?
    } else {
        return Err(NO_FILE.into());
    };
    let mut bytes = Vec::new();
    loop {
        match rustix::io::read(&file, &mut *buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
}

const NO_FILE: &str =
    "it is not a file: move it away; migrations in directories below are not read";

/// A link within the directory is a file; one that leads out of it is somebody else's.
fn open_link(directory: &Path, name: &str) -> Result<OwnedFd, String> {
    let real = directory.join(name).canonicalize().map_err(unreadable)?;
    let top = directory.canonicalize().map_err(unreadable)?;
    if !real.starts_with(top) {
        return Err(format!(
            "it is a link to {}, outside of the directory: put the file itself here",
            real.display()
        ));
    }
    if !real.metadata().map_err(unreadable)?.is_file() {
        return Err(NO_FILE.into());
    }
    File::open(real).map(OwnedFd::from).map_err(unreadable)
}
