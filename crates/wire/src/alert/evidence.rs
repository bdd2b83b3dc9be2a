//! Evidence: the numbers behind an alert, as a JSON object.
//!
//! Which facts stand in it depends on the signal, and their order is the one in
//! which a person should read them. Neither serde's nor JSON's maps promise an
//! order, so it is a list of pairs that reads and writes as an object.

use std::{borrow::Cow, fmt};

use churnwatch_core::alert::{Datum, Evidence, published};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Named facts in reading order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvidenceBody(pub Vec<(String, EvidenceValue)>);

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EvidenceValue {
    /// `null`: not known.
    Nothing,
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Count(u64),
    /// A measured number, rounded to four decimals.
    Number(f64),
    /// Words, an id, an RFC 3339 time or a `YYYY-MM-DD` date.
    Text(String),
    /// A bounded list.
    List(Vec<EvidenceValue>),
    /// Named facts within a fact.
    Facts(EvidenceBody),
}

impl EvidenceBody {
    /// The fact of that name.
    pub fn get(&self, name: &str) -> Option<&EvidenceValue> {
        self.0
            .iter()
            .find(|(named, _)| named == name)
            .map(|(_, value)| value)
    }

    fn of_facts(facts: &[(&'static str, Datum)]) -> Self {
        let pairs = facts
            .iter()
            .map(|(name, datum)| ((*name).to_owned(), datum.into()));
        Self(pairs.collect())
    }
}

impl From<&Evidence> for EvidenceBody {
    fn from(evidence: &Evidence) -> Self {
        Self::of_facts(&evidence.0)
    }
}

impl From<&Datum> for EvidenceValue {
    fn from(datum: &Datum) -> Self {
        match datum {
            Datum::Nothing => Self::Nothing,
            Datum::Flag(flag) => Self::Flag(*flag),
            Datum::Count(count) => Self::Count(*count),
            Datum::Number(number) => Self::Number(published(*number)),
            Datum::Text(text) => Self::Text(text.to_string()),
            Datum::Time(time) => Self::Text(time.to_string()),
            Datum::Date(day) => Self::Text(day.to_string()),
            Datum::List(list) => Self::List(list.iter().map(Self::from).collect()),
            Datum::Facts(facts) => Self::Facts(EvidenceBody::of_facts(facts)),
        }
    }
}

impl Serialize for EvidenceBody {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for EvidenceBody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> de::Visitor<'de> for InOrder {
            type Value = EvidenceBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of facts")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<EvidenceBody, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(EvidenceBody(pairs))
            }
        }

        from.deserialize_map(InOrder)
    }
}

impl JsonSchema for EvidenceBody {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Evidence".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": true })
    }
}

#[cfg(test)]
mod tests {
    use churnwatch_core::time::{Day, EventTime};

    use super::*;

    #[test]
    fn facts_are_written_in_the_order_they_were_given_and_read_back_in_it() {
        let evidence = Evidence::default()
            .with("zebra", 3_u32)
            .with("ape", 0.123_456)
            .with("whole", 2.0)
            .with("broken", f64::NAN)
            .with("day", Day(0))
            .with("time", EventTime::from_millis(0))
            .with("unknown", None::<bool>)
            .with("list", vec![Datum::from("a"), Datum::from(true)])
            .with(
                "facts",
                Datum::Facts(vec![("z", Datum::Count(1)), ("a", Datum::Count(2))]),
            );
        let body = EvidenceBody::from(&evidence);
        let json = serde_json::to_string(&body).expect("serialises");
        expect_test::expect![[r#"{"zebra":3,"ape":0.1235,"whole":2.0,"broken":0.0,"day":"1970-01-01","time":"1970-01-01T00:00:00Z","unknown":null,"list":["a",true],"facts":{"z":1,"a":2}}"#]]
            .assert_eq(&json);
        let again: EvidenceBody = serde_json::from_str(&json).expect("reads back");
        assert_eq!(again, body);
        assert_eq!(again.get("ape"), Some(&EvidenceValue::Number(0.1235)));
    }
}
