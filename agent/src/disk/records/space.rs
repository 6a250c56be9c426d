//! Whether the file system could take another record, without writing one.

use std::{io::ErrorKind, path::Path};

use rustix::fs::StatVfsMountFlags;

use super::{RecordsError, atomic_file};

/// What a file system says about itself.
#[derive(Clone, Copy)]
struct Space {
    read_only: bool,
    blocks: u64,
    free_blocks: u64,
    /// 0 where the file system makes inodes as it needs them (btrfs).
    inodes: u64,
    free_inodes: u64,
}

/// Asks the file system of `dir`. A quota does not show here: the write that fails tells.
pub(super) fn check(dir: &Path) -> Result<(), RecordsError> {
    let stat =
        rustix::fs::statvfs(dir).map_err(|error| atomic_file::failure("checking", dir, error.into()))?;
    let space = Space {
        read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
        blocks: stat.f_blocks,
        // With those that are reserved for root: the agent's user.
        free_blocks: stat.f_bfree,
        inodes: stat.f_files,
        free_inodes: stat.f_ffree,
    };
    judge(dir, space)
}

fn judge(dir: &Path, space: Space) -> Result<(), RecordsError> {
    let full = |total: u64, free: u64| total > 0 && free == 0;
    if space.read_only {
        Err(atomic_file::failure(
            "checking",
            dir,
            ErrorKind::ReadOnlyFilesystem.into(),
        ))
    } else if full(space.blocks, space.free_blocks) || full(space.inodes, space.free_inodes) {
        Err(RecordsError::Full(dir.to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Space = Space {
        read_only: false,
        blocks: 10,
        free_blocks: 1,
        inodes: 10,
        free_inodes: 1,
    };

    #[test]
    fn full_and_read_only_file_systems_are_reported() {
        let judge = |space| judge(Path::new("/state"), space);
        assert!(judge(WELL).is_ok());
        let full = Space {
            free_blocks: 0,
            ..WELL
        };
        assert!(matches!(judge(full), Err(RecordsError::Full(_))));
        let inodes = Space {
            free_inodes: 0,
            ..WELL
        };
        assert!(matches!(judge(inodes), Err(RecordsError::Full(_))));
        let read_only = Space {
            read_only: true,
            ..WELL
        };
        assert!(matches!(judge(read_only), Err(RecordsError::Forbidden { .. })));
    }

    #[test]
    fn a_file_system_without_inode_limit_is_not_full() {
        let space = Space {
            inodes: 0,
            free_inodes: 0,
            ..WELL
        };
        assert!(judge(Path::new("/state"), space).is_ok());
    }
}
