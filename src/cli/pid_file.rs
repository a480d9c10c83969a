//! The file with the number of this process, which scripts wait for and read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file with the number of this process. It goes with this value, unless it is to be kept.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    is_kept: bool,
}

impl PidFile {
    /// Writes it, and makes its directory if it is not there.
    ///
    /// # Errors
    /// When the system refuses that.
    pub fn write(path: &Path, is_kept: bool) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        // rabbitmq: the number and nothing behind it.
        fs::write(path, std::process::id().to_string())?;
        Ok(PidFile { path: path.to_owned(), is_kept })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // Who has removed it before has done what was to be done.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_value_unless_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("below/pid");
        let file = PidFile::write(&path, false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
        drop(PidFile::write(&path, true).unwrap());
        assert!(path.exists());
    }
}
