//! What a declaration of a metric consists of, and the macro that turns the table into code.
//!
//! - [`MetricInfo`]: one entry of the table, as data.
//! - [`Declared`]: the types a metric may have; each knows how to make itself from its entry.
//! - `declare_metrics!`: table in; `Metrics`, `Metrics::register`, `Metrics::forget_partition` and
//!   `catalogue` out.

use std::fmt;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Result,
};

use super::family::{ByPartition, Family};

/// One metric as declared: what the reference page shows and what registration uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricInfo {
    /// Full name, `churnwatch_` included. A histogram appears as `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What the value is measured in.
    pub unit: Unit,
    /// Labels, in the order in which [`Family::with`] takes their values.
    pub labels: &'static [Label],
    /// Upper bounds of a histogram's buckets, ascending, without `+Inf`; empty for other kinds.
    pub buckets: &'static [f64],
    /// One sentence or two.
    pub help: &'static str,
}

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        })
    }
}

/// What a metric is measured in. Always a base unit: seconds and not milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds, with a fraction.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share from 0 to 1.
    Ratio,
    /// None: the value is always 1 and the labels are the message.
    Info,
    /// A number of things, named in the plural.
    Of(&'static str),
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::Ratio => "ratio 0..1",
            Unit::Info => "none",
            Unit::Of(things) => things,
        })
    }
}

/// A label of a metric and the values it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Name as it appears in the text format.
    pub name: &'static str,
    /// What it can hold.
    pub values: LabelValues,
}

/// The values of a label. There is no third case: an unbounded label is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelValues {
    /// Exactly these.
    Fixed(&'static [&'static str]),
    /// Known to the code that counts; the text says what bounds them.
    Bounded(&'static str),
}

/// A type that a field of `Metrics` may have.
pub(super) trait Declared: Sized {
    /// The kind that goes into the catalogue.
    const KIND: Kind;

    /// Makes the metric, with the children that can be known beforehand.
    fn create(info: &MetricInfo) -> Result<Self>;

    /// A handle to the same metric, for the registry.
    fn collector(&self) -> Box<dyn Collector>;

    /// Drops the series of a partition that this process no longer owns.
    fn forget_partition(&self, _partition: i32) {}
}

/// A labelled metric of the `prometheus` crate that can be built from its declaration.
pub(super) trait DeclaredVec: Collector + Clone + 'static {
    const KIND: Kind;

    fn build(info: &MetricInfo, labels: &[&str]) -> Result<Self>;
}

fn opts(info: &MetricInfo) -> Opts {
    Opts::new(info.name, info.help)
}

fn histogram_opts(info: &MetricInfo) -> HistogramOpts {
    HistogramOpts::new(info.name, info.help).buckets(info.buckets.to_vec())
}

macro_rules! declared {
    ($($single:ty, $labelled:ty => $kind:expr, $opts:ident;)+) => {
        $(
            impl Declared for $single {
                const KIND: Kind = $kind;

                fn create(info: &MetricInfo) -> Result<Self> {
                    check_arity(info, 0)?;
                    Self::with_opts($opts(info))
                }

                fn collector(&self) -> Box<dyn Collector> {
                    Box::new(self.clone())
                }
            }

            impl DeclaredVec for $labelled {
                const KIND: Kind = $kind;

                fn build(info: &MetricInfo, labels: &[&str]) -> Result<Self> {
                    Self::new($opts(info).into(), labels)
                }
            }
        )+
    };
}

declared! {
    IntCounter, IntCounterVec => Kind::Counter, opts;
    IntGauge, IntGaugeVec => Kind::Gauge, opts;
    Gauge, GaugeVec => Kind::Gauge, opts;
    Histogram, HistogramVec => Kind::Histogram, histogram_opts;
}

impl<B: MetricVecBuilder + 'static, const N: usize> Declared for Family<MetricVec<B>, N>
where
    MetricVec<B>: DeclaredVec,
{
    const KIND: Kind = <MetricVec<B> as DeclaredVec>::KIND;

    fn create(info: &MetricInfo) -> Result<Self> {
        check_arity(info, N)?;
        let names: Vec<&str> = info.labels.iter().map(|label| label.name).collect();
        let vec = MetricVec::<B>::build(info, &names)?;
        // With one label whose values are all known, every series exists from the start.
        if let [
            Label {
                values: LabelValues::Fixed(values),
                ..
            },
        ] = info.labels
        {
            for value in *values {
                vec.get_metric_with_label_values(&[value])?;
            }
        }
        Ok(Self::new(vec))
    }

    fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.vec().clone())
    }
}

impl<B: MetricVecBuilder + 'static> Declared for ByPartition<MetricVec<B>>
where
    MetricVec<B>: DeclaredVec,
{
    const KIND: Kind = <MetricVec<B> as DeclaredVec>::KIND;

    fn create(info: &MetricInfo) -> Result<Self> {
        Family::create(info).map(Self::new)
    }

    fn collector(&self) -> Box<dyn Collector> {
        self.family().collector()
    }

    fn forget_partition(&self, partition: i32) {
        self.forget(partition);
    }
}

fn check_arity(info: &MetricInfo, expected: usize) -> Result<()> {
    if info.labels.len() == expected {
        return Ok(());
    }
    Err(Error::Msg(format!(
        "{} is declared with {} labels, its type has {expected}",
        info.name,
        info.labels.len()
    )))
}

/// Turns the table of metrics into `Metrics`, its registration and the catalogue.
macro_rules! declare_metrics {
    ($(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty {
            unit: $unit:expr
            $(, labels: [$($label:expr),+])?
            $(, buckets: $buckets:expr)?
        }
    )+) => {
        /// All metrics of one process. Share it as `Arc<Metrics>`; every metric counts through
        /// `&self` and may be used from any thread.
        #[derive(Debug)]
        pub struct Metrics {
            $(
                $(#[doc = $help])+
                pub $field: $type,
            )+
            registry: Registry,
            sources: SharedSources,
        }

        const CATALOGUE: &[MetricInfo] = &[$(
            MetricInfo {
                name: concat!("churnwatch_", stringify!($field)),
                kind: <$type as Declared>::KIND,
                unit: $unit,
                labels: &[$($($label),+)?],
                buckets: declare_metrics!(@or_empty $($buckets)?),
                help: concat!($($help),+).trim_ascii(),
            },
        )+];

        impl Metrics {
            fn register(registry: Registry, sources: SharedSources) -> prometheus::Result<Self> {
                let mut declared = CATALOGUE.iter();
                $(
                    let info = declared.next().expect("one entry for each field");
                    let $field = <$type as Declared>::create(info)?;
                    registry.register($field.collector())?;
                )+
                Ok(Self { $($field,)+ registry, sources })
            }

            /// Drops every series of a partition; call it when the partition was given away, or
            /// its last lag would be shown for ever. A partition without series is no error.
            pub fn forget_partition(&self, partition: i32) {
                $(Declared::forget_partition(&self.$field, partition);)+
            }
        }

        /// Every metric, in the order of declaration: what documentation is generated from.
        pub fn catalogue() -> &'static [MetricInfo] {
            CATALOGUE
        }
    };
    (@or_empty) => { &[] };
    (@or_empty $buckets:expr) => { $buckets };
}
pub(super) use declare_metrics;
