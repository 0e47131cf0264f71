//! What a large directory's files are by their names, sizes and times, which is to be had without opening them. As git does with its
//! index: whoever writes to a file also moves the time of its last change, which nobody can set.

use std::os::unix::fs::DirEntryExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use sha2::{Digest as _, Sha256};

/// With fewer files, reading them takes no longer than a look at the database.
const LARGE: usize = 1_000;
/// How old the last change of each file must be: a clock's hand may stand still for a moment, and a second change would not be seen.
const SETTLED: Duration = Duration::from_secs(2);

/// A hash of the names, sizes and times of a directory's files. None if they are few, if one was changed a moment ago, or if one is a
/// link: what it leads to changes without a trace here.
pub(crate) fn outline(directory: &Path) -> Option<[u8; 32]> {
    let entries = std::fs::read_dir(directory).ok()?;
    let files: Result<Vec<_>, _> =
        entries.map(|entry| entry.map(|entry| (entry.ino(), entry.file_name()))).collect();
    let mut files = files.ok()?;
    if files.len() < LARGE {
        return None;
    }
    // Most file systems keep what they know of files in this order: looking at one after the other takes half as long as by name.
    files.sort_unstable();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = openat(rustix::fs::CWD, directory, flags, Mode::empty()).ok()?;
    let settled = SystemTime::now().checked_sub(SETTLED)?.duration_since(UNIX_EPOCH).ok()?;
    let settled = i64::try_from(settled.as_secs()).ok()?;
    let mut hash = Sha256::new();
    hash.update(fstat(&open).ok()?.st_ino.to_le_bytes());
    for (_, name) in &files {
        let stat = statat(&open, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let bytes = name.as_encoded_bytes();
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
        tell(&mut hash, &stat, settled)?;
    }
    Some(hash.finalize().into())
}

/// Tells of a file; none if it is something else, or was changed after `settled`. What is in directories below is never read.
fn tell(hash: &mut Sha256, stat: &Stat, settled: i64) -> Option<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    hash.update(kind.as_raw_mode().to_le_bytes());
    if kind.is_dir() {
        return Some(());
    }
    if !kind.is_file() || stat.st_ctime >= settled || stat.st_mtime >= settled {
        return None;
    }
    for time in [stat.st_mtime, stat.st_ctime] {
        hash.update(time.to_le_bytes());
    }
    hash.update(stat.st_mtime_nsec.to_le_bytes());
    hash.update(stat.st_ctime_nsec.to_le_bytes());
    hash.update(stat.st_dev.to_le_bytes());
    hash.update(stat.st_ino.to_le_bytes());
    hash.update(stat.st_size.to_le_bytes());
    Some(())
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
        let before = settled(many.path());
        std::fs::create_dir(many.path().join("squashed")).unwrap();
        assert_ne!(settled(many.path()), before);
    }
}
