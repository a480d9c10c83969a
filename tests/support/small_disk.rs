//! Disks that are full, or cannot be written, when a test says so.

use std::path::Path;
use std::process::Command;

/// A file system of its own, in memory, whose size can be changed.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None where mounting is not allowed.
    pub(crate) fn mount(size: &str) -> Option<SmallDisk> {
        let home = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "leveret-test"])
            .arg(home.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(SmallDisk(home)),
            _ => {
                println!("skipped: a file system cannot be mounted here");
                None
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves so much room and no more.
    pub(crate) fn leave_kib(&self, room: u64) {
        let found = rustix::fs::statvfs(self.0.path()).unwrap();
        let used = (found.f_blocks - found.f_bfree) * found.f_frsize / 1024;
        self.resize(&format!("{}k", used + room));
    }

    /// Gives it this size, with other options of a mount behind it.
    pub(crate) fn resize(&self, size: &str) {
        let output = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is left mounted would be told by the removal of the directory.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
