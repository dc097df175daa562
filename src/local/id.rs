//! Random ids in the forms that Lambda gives them.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// A random UUID (version 4): request ids, invocation ids, extension identifiers.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn uuid() -> io::Result<String> {
    Ok(uuid_of(random()?))
}

/// An X-Ray tracing header that begins a sampled trace now.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn trace_id() -> io::Result<String> {
    Ok(trace_id_of(epoch_seconds(), random()?, random()?))
}

/// 32 hexadecimal digits: the end of a log stream's name.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn hex() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_be_bytes(random()?)))
}

fn uuid_of(mut bytes: [u8; 16]) -> String {
    // RFC 9562: the version and the variant take six of the bits.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

fn trace_id_of(seconds: u64, root: [u8; 12], parent: [u8; 8]) -> String {
    let root = root.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("Root=1-{:08x}-{root};Parent={:016x};Sampled=1", seconds & 0xffff_ffff, u64::from_be_bytes(parent))
}

fn epoch_seconds() -> u64 {
    // A clock before 1970 makes no trace id invalid.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// No more than 256 bytes: so many come whole (getrandom(2)), except that a signal may interrupt the wait for the pool at boot.
#[cfg(target_os = "linux")]
fn fill(bytes: &mut [u8]) -> io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn fill(bytes: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_forms_that_lambda_gives_them() {
        assert_eq!(uuid_of([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid_of([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(
            trace_id_of(0x5759_e988, [0xab; 12], [0x53, 0x99, 0x5c, 0x3f, 0x42, 0xcd, 0x8a, 0xd8]),
            "Root=1-5759e988-abababababababababababab;Parent=53995c3f42cd8ad8;Sampled=1"
        );
        assert_eq!(trace_id_of(1, [0; 12], [0; 8]), "Root=1-00000001-000000000000000000000000;Parent=0000000000000000;Sampled=1");
    }

    #[test]
    fn ids_differ() {
        assert_ne!(uuid().ok(), uuid().ok());
        assert_eq!(hex().ok().map(|hex| hex.len()), Some(32));
    }
}
