//! Lists that are read page by page, each page starting behind the last object of the one before (keyset).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Error, Part, Result, UserId};

/// How many objects a page holds at most: 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u8);

impl Limit {
    /// Largest limit.
    pub const MAX: u8 = 100;

    /// Reads the query parameter.
    ///
    /// # Errors
    /// `/limit` `out_of_range` for an integer outside of 1 to 100, [`Error::Malformed`] for anything else.
    pub fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::default()) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Error::malformed("limit is not an integer"));
        }
        match text.parse() {
            Ok(limit @ 1..=Self::MAX) => Ok(Self(limit)),
            _ => Err(Error::invalid("/limit", "out_of_range", "1 to 100")),
        }
    }

    /// As a number of objects.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }

    /// How many rows to ask the database for: one more, which tells whether another page follows.
    pub fn fetch(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

/// Where a page ended: the sort key of its last object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// For lists sorted by time, then id. To microseconds, as PostgreSQL keeps it.
    pub at: Option<DateTime<Utc>>,
    /// For lists sorted by id, or among equal times.
    pub id: Uuid,
}

/// One list: which one, who reads it, with which filters. A cursor opens only for the list it was made for.
///
/// This is a checksum over known things and no secret: someone could make a cursor of his own. It would get him to
/// another place in a list that he may read anyway, because a cursor is never more than a bound in a statement
/// that filters by caller.
#[derive(Clone)]
pub struct Listing(Sha256);

/// Layout of the text: version, 1 if a time follows, time in microseconds, id, checksum.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;
const PLAIN_BYTES: usize = 2 + 8 + 16;
/// Of `PLAIN_BYTES + CHECKSUM_BYTES` in base64url.
const ENCODED_CHARS: usize = 46;

impl Listing {
    /// The list called `kind`, as `reader` sees it.
    pub fn new(kind: &'static str, reader: UserId) -> Self {
        Self(Sha256::new()).part(b"cursor").part(kind.as_bytes()).part(reader.0.as_bytes())
    }

    /// The same list, narrowed by a filter, given or not.
    #[must_use]
    pub fn filter(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            None => self,
            Some(value) => self.part(name.as_bytes()).part(value.as_bytes()),
        }
    }

    /// Each part goes in with its length, so that no two sequences of parts look alike.
    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn checksum(&self, plain: &[u8]) -> [u8; CHECKSUM_BYTES] {
        let digest: [u8; 32] = self.clone().part(plain).0.finalize().into();
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        checksum
    }

    /// The text that clients hand back for the next page.
    pub fn seal(&self, cursor: Cursor) -> String {
        let mut plain = Vec::with_capacity(PLAIN_BYTES + CHECKSUM_BYTES);
        plain.extend([VERSION, u8::from(cursor.at.is_some())]);
        plain.extend(cursor.at.map_or(0, |at| at.timestamp_micros()).to_be_bytes());
        plain.extend(cursor.id.as_bytes());
        plain.extend(self.checksum(&plain));
        URL_SAFE_NO_PAD.encode(plain)
    }

    /// Reads what [`Self::seal`] made for this very list.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything else.
    pub fn open(&self, text: &str) -> Result<Cursor> {
        self.read(text).ok_or_else(|| Error::malformed("the cursor is not one of this list"))
    }

    fn read(&self, text: &str) -> Option<Cursor> {
        if text.len() != ENCODED_CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (plain, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if self.checksum(plain) != *checksum {
            return None;
        }
        let (&[version, timed], rest) = plain.split_first_chunk::<2>()?;
        let (micros, id) = rest.split_first_chunk::<8>()?;
        let at = match (version, timed) {
            (VERSION, 0) => None,
            (VERSION, 1) => Some(DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?),
            _ => return None,
        };
        Some(Cursor { at, id: Uuid::from_slice(id).ok()? })
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// For the next page; `None` on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// From up to [`Limit::fetch`] rows: the one too many only tells that another page follows.
    pub fn new(mut rows: Vec<T>, limit: Limit, listing: &Listing, key: impl FnOnce(&T) -> Cursor) -> Self {
        let more = rows.len() > limit.get();
        rows.truncate(limit.get());
        let next_cursor = rows.last().filter(|_| more).map(|last| listing.seal(key(last)));
        Self { items: rows, next_cursor }
    }

    /// As [`Page::new`], from rows that may have been cut short.
    pub fn of_part(part: Part<T>, limit: Limit, listing: &Listing, key: impl Fn(&T) -> Cursor) -> Self {
        let goes_on = part.cut && part.rows.len() <= limit.get();
        let last = part.rows.last().filter(|_| goes_on).map(|last| listing.seal(key(last)));
        let page = Self::new(part.rows, limit, listing, key);
        Self { next_cursor: page.next_cursor.or(last), ..page }
    }

    /// The same page with every item turned into something else.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next_cursor: self.next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reader() -> UserId {
        UserId(Uuid::from_u128(7))
    }

    fn tasks() -> Listing {
        Listing::new("tasks", reader())
    }

    #[test]
    fn a_limit_is_one_to_a_hundred_and_twenty_if_not_given() {
        assert_eq!(Limit::parse(None).unwrap().get(), 20);
        assert_eq!(Limit::parse(Some("1")).unwrap().get(), 1);
        assert_eq!(Limit::parse(Some("100")).unwrap().fetch(), 101);
        for text in ["0", "101", "-1", "99999999999999999999999", "-99999999999999999999"] {
            assert!(
                matches!(Limit::parse(Some(text)), Err(Error::Invalid(v)) if v[0].field == "/limit"),
                "{text}"
            );
        }
        for text in ["", "-", "+5", "1.5", "1e1", "ten", " 5", "0x5", "٣", "5\0"] {
            assert!(matches!(Limit::parse(Some(text)), Err(Error::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_cursor_of_another_list_reader_or_filter_is_refused() {
        let cursor = Cursor { at: None, id: Uuid::from_u128(1) };
        let mine = tasks().filter("status", Some("failed"));
        let text = mine.seal(cursor);
        assert_eq!(mine.open(&text).unwrap(), cursor);
        for other in [
            tasks(),
            tasks().filter("status", Some("running")),
            tasks().filter("queue", Some("failed")),
            Listing::new("users", reader()).filter("status", Some("failed")),
            Listing::new("tasks", UserId(Uuid::from_u128(8))).filter("status", Some("failed")),
        ] {
            assert!(matches!(other.open(&text), Err(Error::Malformed(_))));
        }
        assert!(tasks().filter("status", None).open(&tasks().seal(cursor)).is_ok());
    }

    #[test]
    fn a_page_tells_whether_another_one_follows() {
        let key = |n: &u128| Cursor { at: None, id: Uuid::from_u128(*n) };
        let limit = Limit::parse(Some("2")).unwrap();
        let page = Page::new(vec![1, 2, 3], limit, &tasks(), key);
        assert_eq!(page.items, [1, 2]);
        let next = tasks().open(&page.next_cursor.unwrap()).unwrap();
        assert_eq!(next.id, Uuid::from_u128(2));
        assert_eq!(Page::new(vec![1, 2], limit, &tasks(), key).next_cursor, None);
        let empty = Page::new(vec![], limit, &tasks(), key);
        let shown = serde_json::to_value(empty.map(|n| n.to_string())).unwrap();
        assert_eq!(shown, serde_json::json!({"items": [], "next_cursor": null}));
    }

    #[test]
    fn a_page_that_was_cut_short_is_followed_by_another() {
        let key = |n: &u128| Cursor { at: None, id: Uuid::from_u128(*n) };
        let limit = Limit::parse(Some("3")).unwrap();
        let page =
            |rows: &[u128], cut| Page::of_part(Part { rows: rows.to_vec(), cut }, limit, &tasks(), key);
        let next = |page: Page<u128>| tasks().open(&page.next_cursor.unwrap()).unwrap().id.as_u128();
        assert_eq!(next(page(&[9, 8], true)), 8);
        assert_eq!(next(page(&[9, 8, 7], true)), 7);
        assert_eq!(next(page(&[9, 8, 7, 6], false)), 7);
        assert_eq!(page(&[9, 8, 7], false).next_cursor, None);
        assert_eq!(page(&[], false).next_cursor, None);
    }

    fn cursors() -> impl Strategy<Value = Cursor> {
        let times = proptest::option::of(-62_135_596_800_000_000..253_402_300_799_000_000_i64);
        (times, any::<u128>()).prop_map(|(micros, id)| Cursor {
            at: micros.and_then(DateTime::from_timestamp_micros),
            id: Uuid::from_u128(id),
        })
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_and_needs_no_escaping_in_a_query(cursor in cursors()) {
            let text = tasks().seal(cursor);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(tasks().open(&text).unwrap(), cursor);
        }

        #[test]
        fn one_changed_character_is_refused(cursor in cursors(), at in 0..46usize, with in any::<char>()) {
            let text = tasks().seal(cursor);
            let mut chars: Vec<char> = text.chars().collect();
            prop_assume!(chars[at] != with);
            chars[at] = with;
            prop_assert!(tasks().open(&chars.into_iter().collect::<String>()).is_err());
        }

        #[test]
        fn garbage_is_refused_without_a_panic(text in "\\PC{0,60}|[A-Za-z0-9_-]{46}") {
            prop_assert!(tasks().open(&text).is_err());
        }
    }
}
