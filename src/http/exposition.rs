//! The two text formats of `/metrics`, and which of them a request prefers.
//!
//! Both say the same. They differ in what a counter is called in its `# TYPE` line, in the names of a few types, and in
//! how they end: an older agent that reads OpenMetrics as the other format finds counters without a type.

use std::fmt::Write as _;

/// A text format for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text, version 0.0.4: what is sent unless the other one is preferred.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Returns the value of `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Returns the format that an `Accept` header prefers (RFC 9110 12.5.1). One that accepts neither gets Prometheus text,
    /// as one that says nothing.
    pub(super) fn preferred(accept: &str) -> Self {
        let open = quality(accept, "application/openmetrics-text", &["1.0.0", "1.0"]);
        let plain = quality(accept, "text/plain", &["0.0.4"]);
        if open > plain { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// Returns the weight, in thousandths, that an `Accept` header gives to a media type in one of these versions: that of the
/// most specific range that covers it.
fn quality(accept: &str, essence: &str, versions: &[&str]) -> u32 {
    let any_of_type = essence.split('/').next().unwrap_or_default();
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let mut specificity = match name.split_once('/') {
            Some(("*", "*")) => 1,
            Some((kind, "*")) if kind.eq_ignore_ascii_case(any_of_type) => 2,
            _ if name.eq_ignore_ascii_case(essence) => 3,
            _ => continue,
        };

        // Parameters that are not known here, such as `escaping`, may be there and change nothing.
        let mut weight = 1_000;
        let mut of_this_version = true;
        for (name, value) in parts.filter_map(|parameter| parameter.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("version") {
                of_this_version = versions.contains(&value);
                specificity = 4;
            } else if name.trim().eq_ignore_ascii_case("q") {
                weight = thousandths(value);
            }
        }
        // Of two ranges that are as specific, the one that is liked better counts.
        if of_this_version {
            best = best.max((specificity, weight));
        }
    }
    best.1
}

/// Reads `0.5` as 500. What is no weight is none.
fn thousandths(value: &str) -> u32 {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" => 1_000,
        "0" if digits(fraction) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Rewrites OpenMetrics text as Prometheus text 0.0.4.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The name of a family depends on its type, which follows its help.
    let mut help = None;
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            // Samples are the same in both formats; there are no exemplars here.
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(name), words) => help = Some((name, words.unwrap_or_default())),
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                    push_help(&mut text, name, suffix, words);
                }
                // Writing to a string does not fail.
                let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
            }
            // `# UNIT` and `# EOF` mean nothing in this format.
            _ => (),
        }
    }
    text
}

/// In this format, a quote in a help text is not escaped.
fn push_help(text: &mut String, name: &str, suffix: &str, words: &str) {
    let _ = writeln!(text, "# HELP {name}{suffix} {}", words.replace("\\\"", "\""));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_liked_best() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/plain", Prometheus),
            ("text/plain;version=0.0.4", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Prometheus),
            ("application/*", OpenMetrics),
            ("text/html, */*;q=0.1", Prometheus),
            ("application/json", Prometheus),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.3", Prometheus),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.2", OpenMetrics),
            ("text/plain;q=0, */*", OpenMetrics),
            ("application/openmetrics-text;q=0, */*;q=0.5", Prometheus),
            ("application/openmetrics-text;q=2, text/plain;q=0.001", Prometheus),
            (
                // Prometheus 2.
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                // Prometheus 3.
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            // Telegraf.
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Prometheus),
        ] {
            assert_eq!(Format::preferred(accept), expected, "{accept}");
        }
    }

    #[test]
    fn counters_have_their_type_in_both_formats() {
        let open = "# HELP hits Of \\\"all\\\" kinds.\n# TYPE hits counter\nhits_total{a=\"x # {\"} 1\n\
                    # HELP took_seconds How long.\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n\
                    took_seconds_bucket{le=\"0.1\"} 2\n\
                    # HELP build Which.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
                    # TYPE odd unknown\nodd 1\n# EOF\n";
        let expected = "# HELP hits_total Of \"all\" kinds.\n# TYPE hits_total counter\nhits_total{a=\"x # {\"} 1\n\
                        # HELP took_seconds How long.\n# TYPE took_seconds histogram\n\
                        took_seconds_bucket{le=\"0.1\"} 2\n\
                        # HELP build_info Which.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
                        # TYPE odd untyped\nodd 1\n";
        assert_eq!(to_prometheus(open), expected);
    }
}
