//! Names of temporary files. A name tells what the file was made for: the sandbox, and digests of
//! the old and of the new text.

use agent_core::identity::SandboxId;

/// multus takes no file for a sandbox's whose name begins with a dot, nor does a person's `ls`.
const PREFIX: &str = ".dynamic-networks-delegates.";

/// How the name of a temporary file begins.
pub(super) fn prefix(sandbox: &SandboxId, old: &[u8], new: &[u8]) -> String {
    format!("{PREFIX}{sandbox}.{:016x}.{:016x}.", digest(old), digest(new))
}

/// What a name tells: sandbox, digest of the old text, digest of the new one.
pub(super) fn parse(name: &str) -> Option<(SandboxId, u64, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('.');
    let sandbox = SandboxId::parse(parts.next()?).ok()?;
    let mut digest = || u64::from_str_radix(parts.next()?, 16).ok();
    Some((sandbox, digest()?, digest()?))
}

/// FNV-1a: enough to tell two texts apart that no program makes alike on purpose, and the same in
/// every build.
pub(super) fn digest(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
