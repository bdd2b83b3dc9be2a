//! librdkafka's log lines, handed to `tracing`.

use rdkafka::config::RDKafkaLogLevel;

/// The facilities that say "a connection came or went". librdkafka logs them
/// as errors, on every restart of a broker and every idle connection; whether
/// it matters is said by the error it raises, so they are no more than
/// information here.
const CONNECTION_FACILITIES: &[&str] = &["FAIL", "ERROR", "REQTMOUT", "MAXPOLL"];

/// Logs a line of librdkafka. `client` is our own name for the client.
pub(crate) fn log_line(client: &str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", client, facility, "{message}");
        }
        RDKafkaLogLevel::Error if CONNECTION_FACILITIES.contains(&facility) => {
            tracing::info!(target: "librdkafka", client, facility, "{message}");
        }
        RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", client, facility, "{message}");
        }
        RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", client, facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", client, facility, "{message}");
        }
        RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", client, facility, "{message}");
        }
    }
}
