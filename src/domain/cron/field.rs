//! One field of an expression: a list of values, ranges and steps.

/// A reason for refusing an expression. Holds nothing of the input.
pub(super) type Refusal = String;

/// A field's place in an expression: its values and their names.
#[derive(Debug)]
pub(super) struct FieldKind {
    name: &'static str,
    low: u32,
    high: u32,
    /// Names of the values from `low` on.
    names: &'static [&'static str],
}

pub(super) const SECOND: FieldKind = FieldKind { name: "second", low: 0, high: 59, names: &[] };
pub(super) const MINUTE: FieldKind = FieldKind { name: "minute", low: 0, high: 59, names: &[] };
pub(super) const HOUR: FieldKind = FieldKind { name: "hour", low: 0, high: 23, names: &[] };
pub(super) const DAY: FieldKind = FieldKind { name: "day of month", low: 1, high: 31, names: &[] };
pub(super) const MONTH: FieldKind = FieldKind {
    name: "month",
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
/// Sunday is 0 and 7.
pub(super) const WEEKDAY: FieldKind = FieldKind {
    name: "day of week",
    low: 0,
    high: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// The values that a field matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Bit `n` stands for the value `n`; never empty.
    bits: u64,
    /// Whether the field begins with `*`, which decides about days and about changes of the clocks.
    pub(super) starts_with_star: bool,
}

impl Field {
    /// Parses a field.
    ///
    /// # Errors
    /// The reason for refusing it.
    pub(super) fn parse(text: &str, kind: &FieldKind) -> Result<Self, Refusal> {
        let mut bits = 0;
        for item in text.split(',') {
            bits |= kind.item(item)?;
        }
        Ok(Self { bits, starts_with_star: text.starts_with('*') })
    }

    /// The field with 7 read as 0, for Sundays.
    #[must_use]
    pub(super) fn with_one_sunday(self) -> Self {
        const SUNDAY_AS_7: u64 = 1 << 7;
        let sunday = u64::from(self.bits & SUNDAY_AS_7 != 0);
        Self { bits: self.bits & !SUNDAY_AS_7 | sunday, ..self }
    }

    /// The matching values as bits.
    pub(super) fn bits(self) -> u64 {
        self.bits
    }

    /// Whether `value` matches.
    pub(super) fn contains(self, value: u32) -> bool {
        self.next_from(value) == Some(value)
    }

    /// The smallest matching value from `value` on.
    pub(super) fn next_from(self, value: u32) -> Option<u32> {
        let rest = self.bits & u64::MAX.checked_shl(value)?;
        (rest != 0).then(|| rest.trailing_zeros())
    }
}

impl FieldKind {
    /// The values of one item of a list: `*`, `*/step`, a value, `a-b` or `a-b/step`.
    fn item(&self, item: &str) -> Result<u64, Refusal> {
        if item.is_empty() {
            return Err(format!("{}: an item of the list is empty", self.name));
        }
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };

        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.low, self.high),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            // crontab(5) steps through ranges only. Other dialects read `5/10` as `5-59/10`.
            None if step.is_some() => {
                return Err(format!("{}: a step follows `*` or a range, such as 10-50/5", self.name));
            }
            None => (self.value(range)?, self.value(range)?),
        };
        if first > last {
            return Err(format!("{}: a range runs from the smaller value to the larger", self.name));
        }

        let step = step.map_or(Ok(1), |step| self.step(step, last - first))?;
        Ok((first..=last).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, Refusal> {
        let named = || self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = number(text).or_else(|| Some(self.low + u32::try_from(named()?).ok()?));
        value.filter(|value| (self.low..=self.high).contains(value)).ok_or_else(|| self.unknown_value())
    }

    fn unknown_value(&self) -> Refusal {
        let Self { name, low, high, names } = self;
        let (Some(first), Some(last)) = (names.first(), names.last()) else {
            return format!("{name}: values are the numbers {low} to {high}");
        };
        format!("{name}: values are the numbers {low} to {high} and the names {first} to {last}")
    }

    /// A step that is longer than its range would silently stand for the first value alone.
    fn step(&self, text: &str, longest: u32) -> Result<usize, Refusal> {
        let step = number(text).filter(|step| (1..=longest.max(1)).contains(step));
        let step = step.and_then(|step| usize::try_from(step).ok());
        step.ok_or_else(|| format!("{}: a step is a number from 1 to the length of its range", self.name))
    }
}

/// A number of digits only; `parse` alone would take a sign.
fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, kind: &FieldKind) -> Vec<u32> {
        let field = Field::parse(text, kind).unwrap_or_else(|why| panic!("{text}: {why}"));
        (0..64).filter(|value| field.contains(*value)).collect()
    }

    #[test]
    fn a_field_is_a_list_of_values_ranges_and_steps() {
        assert_eq!(values("5", &MINUTE), [5]);
        assert_eq!(values("005,59", &MINUTE), [5, 59]);
        assert_eq!(values("*/20", &MINUTE), [0, 20, 40]);
        assert_eq!(values("10-20/5,1-2,12", &HOUR), [1, 2, 10, 12, 15, 20]);
        assert_eq!(values("*", &DAY), (1..=31).collect::<Vec<_>>());
        assert_eq!(values("jan,Mar-MAY,12", &MONTH), [1, 3, 4, 5, 12]);
        assert_eq!(values("mon-5", &WEEKDAY), [1, 2, 3, 4, 5]);
        assert_eq!(values("*/59", &SECOND), [0, 59]);
    }

    #[test]
    fn sunday_is_0_and_7() {
        for (text, days) in [("7", &[0][..]), ("0", &[0]), ("5-7", &[0, 5, 6]), ("*/2", &[0, 2, 4, 6])] {
            let field = Field::parse(text, &WEEKDAY).unwrap().with_one_sunday();
            assert_eq!((0..64).filter(|day| field.contains(*day)).collect::<Vec<_>>(), days, "{text}");
        }
    }

    #[test]
    fn what_crontab_does_not_know_is_refused() {
        let refused = [
            (
                &MINUTE,
                "60 -1 +1 1- - 5-1 */0 */60 */90 0-10/11 5/10 *5 ** *-5 1-2-3 */2/2 */ /5 */* */-1 */+5 1-*",
            ),
            (&MINUTE, ", 0, ,0 0,,5 ? L 5W 1#2 0~30 jan mon 1MON 0x1 1.5 99999999999"),
            (&MONTH, "JAN1 1JAN january ja mon 0 13 dec-jan jan-mar/3 feb/2"),
            (&WEEKDAY, "jan 8 monday 5L L mon#1 fri-sun */8 sun-sat/7"),
            (&DAY, "0 32 L 15W LW ? */31"),
        ];
        for (kind, texts) in refused {
            for text in texts.split(' ') {
                assert!(Field::parse(text, kind).is_err(), "{text}");
            }
        }
        assert!(Field::parse("", &MINUTE).is_err());
    }
}
