//! Files of a zip archive as browsers take them: what an archive stores of a file (deflate and a
//! CRC-32) is also what is inside of gzip, so nothing need be unpacked.

/// The fixed part of an entry of the directory at the end of the archive.
const DIRECTORY_ENTRY: usize = 46;
/// The fixed part of the header before a file's data.
const LOCAL_HEADER: usize = 30;
const DEFLATE: usize = 8;

/// A file whose path ends with `path`, as gzip (RFC 1952).
pub(super) fn gzipped(archive: &[u8], path: &str) -> Option<Vec<u8>> {
    let end = archive.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let mut at = number(archive, end + 16, 4)?;
    loop {
        let entry = archive.get(at..).filter(|rest| rest.starts_with(b"PK\x01\x02"))?;
        let name_length = number(entry, 28, 2)?;
        let name = entry.get(DIRECTORY_ENTRY..DIRECTORY_ENTRY + name_length)?;
        if name.ends_with(path.as_bytes()) {
            return wrapped(archive, entry);
        }
        at += DIRECTORY_ENTRY + name_length + number(entry, 30, 2)? + number(entry, 32, 2)?;
    }
}

fn wrapped(archive: &[u8], entry: &[u8]) -> Option<Vec<u8>> {
    if number(entry, 10, 2)? != DEFLATE {
        return None;
    }
    let header = archive.get(number(entry, 42, 4)?..)?;
    let start = LOCAL_HEADER + number(header, 26, 2)? + number(header, 28, 2)?;
    let deflated = header.get(start..start + number(entry, 20, 4)?)?;
    // Method deflate, no flags, no time, made on an unknown system.
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend_from_slice(deflated);
    gzip.extend_from_slice(entry.get(16..20)?);
    gzip.extend_from_slice(entry.get(24..28)?);
    Some(gzip)
}

/// A number in little-endian order.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let digits = bytes.get(at..at + length)?;
    Some(digits.iter().rev().fold(0, |number, digit| number << 8 | usize::from(*digit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_there_is_not_found() {
        let archive = utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
        assert!(gzipped(archive, "/dist/nothing.js").is_none());
        assert!(gzipped(archive, "/dist/swagger-ui.css").is_some());
        assert!(gzipped(b"", "a").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), at in 0_usize..100) {
            if let Some(place) = bytes.get_mut(at..at + 4) {
                place.copy_from_slice(b"PK\x05\x06");
            }
            let _ = gzipped(&bytes, "a");
        }
    }
}
