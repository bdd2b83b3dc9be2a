//! What the invented companies, their account managers and the product's
//! features are called.

use super::plan::{Region, Segment};

/// What people do in the product: the eight features a person uses.
pub(super) const FEATURES: [&str; 8] = [
    "dashboard_viewed",
    "order_planned",
    "stock_counted",
    "report_built",
    "forecast_run",
    "supplier_messaged",
    "price_list_edited",
    "export_downloaded",
];

/// What the nightly job of a connected system does.
pub(super) const SERVICE_FEATURE: &str = "stock_synced";

/// The parts of the product that tickets are about.
pub(super) const AREAS: [&str; 6] = [
    "forecasting",
    "ordering",
    "imports",
    "reports",
    "permissions",
    "billing",
];

/// What kind of help a ticket asks for.
pub(super) const CATEGORIES: [&str; 4] = ["how_to", "bug", "data_quality", "request"];

const FIRST: [&str; 40] = [
    "Aldermoor",
    "Brinvale",
    "Caskwell",
    "Dunmarrow",
    "Eskholt",
    "Farrowby",
    "Glenhurst",
    "Hallowick",
    "Inverlea",
    "Jorvanne",
    "Kestermill",
    "Lindqvale",
    "Marchetta",
    "Norrhaven",
    "Ostelund",
    "Pellbrook",
    "Quarrendon",
    "Rosmark",
    "Silverthwaite",
    "Tamsworth",
    "Ulverdale",
    "Velmora",
    "Westerlund",
    "Yarrowgate",
    "Zellinger",
    "Ambervale",
    "Bexcombe",
    "Corrimar",
    "Drayhaven",
    "Elmstedt",
    "Fennimore",
    "Granholt",
    "Hartmere",
    "Isenbach",
    "Kaldera",
    "Lochmond",
    "Montavale",
    "Nettleby",
    "Oakmarsh",
    "Penderly",
];

const SECOND: [&str; 21] = [
    "Foods",
    "Logistics",
    "Retail",
    "Textiles",
    "Outdoor",
    "Pharmacy Group",
    "Furniture",
    "Instruments",
    "Brewing",
    "Wholesale",
    "Sports",
    "Bakeries",
    "Optics",
    "Paper",
    "Tools",
    "Garden",
    "Ceramics",
    "Toys",
    "Cycles",
    "Electric",
    "Home",
];

/// The name of the account numbered `number`. No two of the first 840 are alike.
pub(super) fn company(number: u16) -> String {
    let number = usize::from(number);
    // 40 and 21 have no common factor, so that the pairs run through all 840.
    format!(
        "{} {}",
        FIRST[number * 7 % FIRST.len()],
        SECOND[number * 11 % SECOND.len()]
    )
}

/// Who looks after an account.
pub(super) fn owner(segment: Segment, region: Region) -> &'static str {
    match (segment, region) {
        (Segment::High, Region::Emea) => "ines.kahl",
        (Segment::High, Region::Amer) => "marcus.oyelaran",
        (Segment::High, Region::Apac) => "yuki.tanabe",
        (Segment::Low, Region::Emea) => "piotr.wrona",
        (Segment::Low, Region::Amer) => "dana.whitlock",
        (Segment::Low, Region::Apac) => "arjun.mehra",
        (Segment::Tech, _) => "digital.team",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn company_names_do_not_repeat() {
        let names: BTreeSet<String> = (1..=840).map(company).collect();
        assert_eq!(names.len(), 840);
    }
}
