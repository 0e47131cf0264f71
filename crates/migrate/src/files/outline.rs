//! What a large directory's files are by their names, sizes and times, which is to be had without opening them. As git does with its
//! index: whoever writes to a file also moves the time of its last change, which nobody can set.

use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use sha2::{Digest as _, Sha256};

/// With fewer files, reading them takes no longer than a look at the database.
const LARGE: usize = 1_000;
/// How old the last change of each file must be: a clock's hand may stand still for a moment, and a second change would not be seen.
const SETTLED: Duration = Duration::from_secs(2);
/// How many files make it worth another thread.
const PER_THREAD: usize = 1_000;

/// A hash of the names, sizes and times of a directory's files. None if they are few, if one was changed a moment ago, or if one is
/// something else than a file: what a link leads to changes without a trace here.
pub(crate) fn outline(directory: &Path) -> Option<[u8; 32]> {
    let open = openat(
        rustix::fs::CWD,
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let open = open.ok()?;
    let names: Result<Vec<_>, _> = std::fs::read_dir(directory)
        .ok()?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect();
    let mut names = names.ok()?;
    if names.len() < LARGE {
        return None;
    }
    names.sort_unstable();
    let settled = SystemTime::now().checked_sub(SETTLED)?.duration_since(UNIX_EPOCH).ok()?;
    let settled = i64::try_from(settled.as_secs()).ok()?;
    let look = |names: &[std::ffi::OsString]| {
        let mut hash = Sha256::new();
        for name in names {
            let stat = statat(&open, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let bytes = name.as_encoded_bytes();
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
            hash.update(told(&stat, settled)?);
        }
        Some(hash.finalize())
    };
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = names.len().div_ceil(PER_THREAD).clamp(1, processors);
    let mut hash = Sha256::new();
    hash.update(std::fs::metadata(directory).ok()?.ino().to_le_bytes());
    std::thread::scope(|scope| {
        let parts = names.chunks(names.len().div_ceil(threads));
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || look(part))).collect();
        for part in parts {
            hash.update(part.join().ok()??);
        }
        Some(hash.finalize().into())
    })
}

/// What is told of a file; none if it is no file, or was changed after `settled`.
fn told(stat: &Stat, settled: i64) -> Option<Vec<u8>> {
    let is_file = FileType::from_raw_mode(stat.st_mode).is_file();
    if !is_file || stat.st_ctime >= settled || stat.st_mtime >= settled {
        return None;
    }
    let times = [stat.st_mtime, stat.st_ctime].map(i64::to_le_bytes);
    let parts = [stat.st_mtime_nsec.to_le_bytes(), stat.st_ctime_nsec.to_le_bytes()];
    let numbers = [stat.st_dev.to_le_bytes(), stat.st_ino.to_le_bytes()];
    let size = [stat.st_size.to_le_bytes()];
    Some([times.concat(), parts.concat(), numbers.concat(), size.concat()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: usize) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        (0..files).for_each(|n| std::fs::write(directory.path().join(n.to_string()), "a").unwrap());
        directory
    }

    /// The outline, once the files are old enough.
    fn settled(directory: &Path) -> [u8; 32] {
        loop {
            if let Some(outline) = outline(directory) {
                return outline;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_change_shows_although_size_and_time_are_as_before() {
        let directory = directory(LARGE);
        assert_eq!(outline(directory.path()), None, "changed a moment ago");
        let before = settled(directory.path());
        assert_eq!(settled(directory.path()), before);

        let file = directory.path().join("7");
        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, "b").unwrap();
        std::fs::File::open(&file).unwrap().set_modified(time).unwrap();
        assert_ne!(settled(directory.path()), before);
    }

    #[test]
    fn few_files_and_links_have_none() {
        let few = directory(LARGE - 1);
        let many = directory(LARGE);
        std::os::unix::fs::symlink("0", many.path().join("link")).unwrap();
        let end = std::time::Instant::now() + 2 * SETTLED;
        while std::time::Instant::now() < end {
            assert_eq!((outline(few.path()), outline(many.path())), (None, None));
            std::thread::yield_now();
        }
        std::fs::remove_file(many.path().join("link")).unwrap();
        settled(many.path());
    }
}
