//! Directories as tar archives: the same files always give the same bytes.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// Files by their path from the directory's top.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Why a directory could not be archived, or an archive not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A file or directory could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A symbolic link: what it points at may change after the release was made.
    #[error("{} is a symbolic link; a release holds plain files only", path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// The archive is damaged, or names files outside of the directory.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
}

/// Reads the files under `top` for which `keep` says so (it is asked with the path from the top, directories too).
pub fn read(top: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<Files, ArchiveError> {
    let mut files = Files::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let whole = top.join(&directory);
        let failed = |source| ArchiveError::File { path: whole.clone(), source };
        for entry in std::fs::read_dir(&whole).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().map_err(failed)?;
            if !keep(&path) {
                continue;
            }
            if kind.is_symlink() {
                return Err(ArchiveError::Link { path: top.join(path) });
            } else if kind.is_dir() {
                open.push(path);
            } else {
                let content = std::fs::read(top.join(&path))
                    .map_err(|source| ArchiveError::File { path: top.join(&path), source })?;
                files.insert(path, content);
            }
        }
    }
    Ok(files)
}

/// Packs files into a tar archive. Owners, times and modes are left out: only names and content make a release.
pub fn pack(files: &Files) -> Result<Vec<u8>, ArchiveError> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive
            .append_data(&mut header, path, content.as_slice())
            .map_err(|source| ArchiveError::File { path: path.clone(), source })?;
    }
    archive.into_inner().map_err(|error| ArchiveError::Damaged(error.to_string()))
}

/// Reads a tar archive back.
pub fn unpack(archive: &[u8]) -> Result<Files, ArchiveError> {
    let damaged = |error: io::Error| ArchiveError::Damaged(error.to_string());
    let mut files = Files::new();
    for entry in tar::Archive::new(archive).entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(ArchiveError::Damaged(format!("it holds the path {}", path.display())));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(damaged)?;
        files.insert(path, content);
    }
    Ok(files)
}

/// Writes files under `top`, which is made if it is not there.
pub fn write(files: &Files, top: &Path) -> Result<(), ArchiveError> {
    for (path, content) in files {
        let whole = top.join(path);
        let failed = |source| ArchiveError::File { path: whole.clone(), source };
        if let Some(parent) = whole.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&whole, content).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes_and_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let files: Files = [("a/b.sql", "select 1"), ("c.sql", "")]
            .map(|(path, content)| (PathBuf::from(path), content.as_bytes().to_vec()))
            .into();
        write(&files, directory.path()).unwrap();
        std::fs::write(directory.path().join("left-out"), "x").unwrap();
        let keep = |path: &Path| !path.ends_with("left-out");
        let read = read(directory.path(), &keep).unwrap();
        assert_eq!(read, files);
        let packed = pack(&read).unwrap();
        assert_eq!(packed, pack(&files).unwrap());
        assert_eq!(unpack(&packed).unwrap(), files);
    }

    #[test]
    fn archives_cannot_write_outside() {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..9].copy_from_slice(b"../escape");
        header.set_size(1);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        archive.append(&header, &b"x"[..]).unwrap();
        let error = unpack(&archive.into_inner().unwrap()).unwrap_err();
        assert!(error.to_string().contains("../escape"), "{error}");
    }

    #[test]
    fn links_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("link.sql")).unwrap();
        assert!(matches!(read(directory.path(), &|_| true), Err(ArchiveError::Link { .. })));
    }
}
