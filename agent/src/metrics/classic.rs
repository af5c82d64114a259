//! The older of the two text formats, made from the newer.
//!
//! Prometheus itself asks for OpenMetrics; scripts, agents of other makers and `promtool check metrics` read the text format 0.0.4. Owns the
//! differences between both, line by line; knows no figure. The invariant: every sample is in both, under the same name; the older one has no
//! exemplars.

/// OpenMetrics text, as our registry writes it, in the Prometheus text format 0.0.4: families are named as their samples are, there are no
/// units, an `info` is a gauge of 1, and samples end with their value.
#[must_use]
pub fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            // It comes before the type, by which the name is known.
            (Some("#"), Some("HELP"), Some(_), Some(told)) => help = Some(told),
            (Some("#"), Some("TYPE"), Some(family), Some(kind)) => {
                // What its samples have behind their name, and what they are.
                let (suffix, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    _ => ("", kind),
                };
                let help = help.take().unwrap_or_default();
                text += &format!("# HELP {family}{suffix} {help}\n# TYPE {family}{suffix} {kind}\n");
            }
            (Some("#"), ..) => {}
            _ => {
                text += sample(line);
                text.push('\n');
            }
        }
    }
    text
}

/// A sample without its exemplar, which begins with the first `#` that stands in no label's value.
fn sample(line: &str) -> &str {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, letter) in line.bytes().enumerate() {
        match letter {
            b'"' if !is_escaped => is_quoted = !is_quoted,
            b'#' if !is_quoted => return line[..at].trim_end(),
            _ => {}
        }
        is_escaped = letter == b'\\' && !is_escaped;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_as_their_samples_are() {
        let open_metrics = "\
# HELP a_build The version.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_moved_bytes Bytes moved, by lane.
# TYPE a_moved_bytes counter
# UNIT a_moved_bytes bytes
a_moved_bytes_total{lane=\"# HELP\"} 7
# HELP a_took_seconds Time.
# TYPE a_took_seconds histogram
a_took_seconds_sum 0.5
a_took_seconds_bucket{le=\"1\",of=\"\\\" # {\"} 1 # {trace_id=\"4b\"} 0.5 1700000000.5
a_took_seconds_bucket{le=\"+Inf\"} 1
# EOF
";
        let expect = "\
# HELP a_build_info The version.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_moved_bytes_total Bytes moved, by lane.
# TYPE a_moved_bytes_total counter
a_moved_bytes_total{lane=\"# HELP\"} 7
# HELP a_took_seconds Time.
# TYPE a_took_seconds histogram
a_took_seconds_sum 0.5
a_took_seconds_bucket{le=\"1\",of=\"\\\" # {\"} 1
a_took_seconds_bucket{le=\"+Inf\"} 1
";
        assert_eq!(classic(open_metrics), expect);
    }
}
