//! Pages that are bounded in bytes.

/// Bytes of the long texts on one page: a page ends before it has more, but has one object at least.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// Rows from the database, in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    /// At least one, if there is any.
    pub rows: Vec<T>,
    /// There are more: these are fewer than were asked for, so that they are not too large together.
    pub cut: bool,
}

impl<T> std::ops::Deref for Part<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.rows
    }
}

/// Returns how many of these sizes, from the first on, fit on one page.
pub fn fitting(sizes: impl IntoIterator<Item = usize>) -> usize {
    let running = sizes.into_iter().scan(0_usize, |sum, bytes| {
        *sum = sum.saturating_add(bytes);
        Some(*sum)
    });
    running.enumerate().take_while(|(index, sum)| *index == 0 || *sum <= PAGE_BYTES).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_on_a_page_is_counted_in_bytes_and_one_always_fits() {
        assert_eq!(fitting([]), 0);
        assert_eq!(fitting([PAGE_BYTES + 1, 1]), 1);
        assert_eq!(fitting([PAGE_BYTES - 1, 1, 1]), 2);
        assert_eq!(fitting([0; 101]), 101);
        assert_eq!(fitting([1, usize::MAX, 1]), 1);
    }
}
