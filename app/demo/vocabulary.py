"""The words that the demo's people, providers and packages are named with."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_NAMES = (
    *("Ada", "Aisha", "Alma", "Amir", "Ana", "Anders", "Anya", "Arjun", "Astrid", "Ben", "Bianca", "Carlos", "Chen"),
    *("Chiara", "Clara", "Daniel", "Diego", "Elena", "Elif", "Emil", "Emma", "Fatima", "Felix", "Freya", "Gabriel"),
    *("Grace", "Hana", "Hugo", "Ida", "Ines", "Ivan", "Jakob", "James", "Jonas", "Julia", "Kaito", "Karin", "Kofi"),
    *("Lars", "Laura", "Leila", "Leo", "Lina", "Lucas", "Maja", "Marco", "Maria", "Mateo", "Mei", "Mia", "Miguel"),
    *("Mohamed", "Nadia", "Nils", "Noah", "Nora", "Olga", "Oliver", "Omar", "Paula", "Priya", "Rafael", "Rosa", "Ruth"),
    *("Samuel", "Sara", "Sofia", "Sven", "Tariq", "Theo", "Tomas", "Uma", "Vera", "Viktor", "Wanda", "Yara", "Yusuf"),
)
LAST_NAMES = (
    *("Abbas", "Adler", "Almeida", "Andersen", "Bakker", "Banerjee", "Becker", "Berg", "Bianchi", "Brown", "Castro"),
    *("Chen", "Clarke", "Costa", "Dahl", "Dubois", "Eriksson", "Evans", "Fernandez", "Fischer", "Garcia", "Ghosh"),
    *("Gomez", "Haddad", "Hansen", "Hassan", "Hoffmann", "Horvat", "Ito", "Ivanova", "Jensen", "Johansson", "Kaya"),
    *("Khan", "Kim", "Kowalski", "Larsen", "Lee", "Lehmann", "Lopez", "Martin", "Mensah", "Meyer", "Moreau", "Murphy"),
    *("Nakamura", "Nguyen", "Nielsen", "Novak", "Okafor", "Olsen", "Patel", "Pereira", "Popescu", "Rossi", "Sato"),
    *("Schmidt", "Silva", "Singh", "Smith", "Svensson", "Takahashi", "Tran", "Vargas", "Virtanen", "Wang", "Weber"),
    *("Wilson", "Yilmaz", "Zhang"),
)

PROVIDER_FIRST = (
    *("Alder", "Anchor", "Birch", "Blue Door", "Compass", "Copper", "Coral", "Driftwood", "Elm Street", "Fjord"),
    *("Garden Gate", "Granite", "Green Lane", "Harbour", "Heather", "Ivory", "Juniper", "Lantern", "Linden", "Maple"),
    *("Meridian", "Morning", "North Wind", "Olive Tree", "Orchard", "Pebble", "Quayside", "Red Brick", "Saffron"),
    *("Silver Birch", "Slate", "Stonebridge", "Summit", "Tide", "Two Rivers", "Umber", "Vista", "Willow", "Yonder"),
)
HOTEL_PROVIDER_LAST = ("Hotels", "Stays", "Guesthouses", "Apartments", "Houses", "Hospitality")
TOUR_PROVIDER_LAST = ("Tours", "Expeditions", "Walks", "Journeys")

HOTEL_FIRST = (
    *("Old Mill", "Lighthouse", "Cathedral", "Riverside", "Market", "Station", "Botanic", "Parkview", "Royal Oak"),
    *("Belvedere", "Artisan", "Courtyard", "Terrace", "Canal", "Hilltop", "Merchant", "Opera", "Rosewater", "Skyline"),
    *("Sunstone", "Theatre", "University", "Vineyard", "Weaver's", "Whitewall"),
)
HOTEL_LAST = ("Hotel", "House", "Guesthouse", "Lodge", "Suites", "Inn", "Apartments")
NEIGHBOURHOODS = (
    "Old Town",
    "Riverside",
    "Harbour",
    "Station Quarter",
    "University Quarter",
    "Garden District",
    "Centre",
)


@dataclass(frozen=True)
class Room:
    """A kind of room: guests it holds, its price compared with a double, and how it is told of."""

    name: str
    capacity: int
    price: float
    words: str


ROOMS = (
    Room("Single room", 1, 0.7, "A quiet room with a proper desk."),
    Room("Double room", 2, 1.0, "A double bed, a reading chair, and a window that opens."),
    Room("Double room with breakfast", 2, 1.15, "A double bed and breakfast until eleven."),
    Room("Studio with kitchen", 2, 1.2, "A kitchen, a small table, and a supermarket around the corner."),
    Room("Family room", 4, 1.6, "Two bedrooms that share a bath; cots for the asking."),
    Room("Rooftop suite", 3, 2.4, "The top floor, a terrace of its own, and the view that is on the postcards."),
)
HOTEL_AMENITIES = (
    *("wifi", "breakfast", "air conditioning", "parking", "lift", "gym", "pool", "spa", "kitchen", "family rooms"),
    *("pets welcome", "step-free access", "late check-in", "bicycles"),
)


@dataclass(frozen=True)
class Outing:
    """A kind of tour: how it is named in a city, its days, and the price of a seat in whole dollars."""

    name: str
    days: int
    dollars: int
    words: str


OUTINGS = (
    Outing("Food and market walk in {city}", 1, 75, "Seven tastings on foot, from the market hall to the last bakery."),
    Outing("{city} by bicycle", 1, 55, "Four hours along the water, with a stop for coffee."),
    Outing("Hidden courtyards of {city}", 1, 40, "Two hours behind doors that are usually closed."),
    Outing("Day trip to the coast from {city}", 1, 110, "By minibus, with lunch and time for a swim."),
    Outing("Weekend in the hills around {city}", 2, 260, "Easy walks, one night in a mountain inn, dinner included."),
    Outing(
        "Four days of wine and villages near {city}", 4, 690, "Small roads, three cellars, and a guide who knows them."
    ),
    Outing("A week on foot around {city}", 7, 1290, "Fifteen kilometres a day; the luggage goes ahead."),
)
TOUR_AMENITIES = (
    "guide",
    "small group",
    "transport",
    "lunch",
    "entrance fees",
    "hotel pick-up",
    "helmets",
    "step-free access",
)

# What staff note when they cancel a booking that isn't paid yet.
CANCELLED_BY_SUPPORT = ("Traveller asked on the phone or by mail", "Booked by mistake or twice")
CANCELLED_BY_PROVIDER = ("Provider can't offer these days",)
GOODWILL = (
    "No hot water for two days, and the front desk was rude about it.",
    "The room was above the loading dock. They left early and wrote to us twice.",
    "The guide came an hour late, and the best part was skipped.",
    "Their child fell ill, and the policy gives nothing. Guest of many years.",
)


@dataclass(frozen=True)
class Refusal:
    """A card refused: Stripe's reason and its words for the cardholder (https://docs.stripe.com/declines/codes)."""

    code: str
    message: str


REFUSALS = (
    Refusal("generic_decline", "Your card was declined."),
    Refusal("insufficient_funds", "Your card has insufficient funds."),
    Refusal("expired_card", "Your card has expired."),
)

# By how many stars it goes with.
REVIEW_TITLES = {
    1: ("Never again", "Not what was promised", "A lost weekend", "Please look elsewhere"),
    2: ("Below what we paid for", "Tired and noisy", "Expected more", "Some good will, little else"),
    3: ("All right for a night", "Mixed", "Good place, thin walls", "Fine, nothing more"),
    4: ("Very good with small flaws", "Would come back", "Well kept and friendly", "Nearly perfect"),
    5: ("Could not have been better", "The best part of our trip", "Exactly right", "We are coming back"),
}
REVIEW_OPENINGS = {
    1: ("We left a day early.", "Nothing was ready when we came.", "The pictures must be ten years old."),
    2: ("We had looked forward to this.", "It began well.", "For the price we had hoped for more."),
    3: ("It was what we had paid for.", "Good in parts.", "We had no great hopes and were not let down."),
    4: ("We liked it a lot.", "A good choice for a few days.", "Nearly everything was as we had hoped."),
    5: ("From the first minute we felt welcome.", "Everything was as described, and better.", "What a find."),
}
REVIEW_DETAILS = {
    1: (
        "Nobody answered the phone.",
        "We waited two hours and were told to come back.",
        "It was dirty, and nobody cared.",
        "Half of what was promised was closed.",
    ),
    2: (
        "There was building work from seven in the morning.",
        "The Wi-Fi reached as far as the stairs.",
        "We were told of the changes only when we were there.",
        "Too many people for too little room.",
    ),
    3: (
        "Clean, but you hear everybody on the stairs.",
        "A bit far from everything, though the tram helps.",
        "The people were kind; the beds were soft.",
        "Worth it for the view.",
    ),
    4: (
        "Quiet at night, five minutes from the station.",
        "Good advice on where to eat.",
        "Only the wait at the beginning could have been shorter.",
        "Spotless, and the coffee was good.",
    ),
    5: (
        "They remembered our names and our daughter's allergy.",
        "The view alone is worth it.",
        "Every detail had been thought of.",
        "We have travelled a lot, and this is near the top.",
    ),
}
REVIEW_ENDS = {
    1: ("We asked for our money back.", "Avoid.", "One star because there is no zero."),
    2: ("Not again at this price.", "It could be good with some care.", "We would try another."),
    3: ("For one night it will do.", "We might come back off season.", "You get what you pay for."),
    4: ("We would book it again.", "Recommended.", "Thank you!"),
    5: ("Thank you, all of you.", "Book it.", "Already planning the next time."),
}
# Codes of `app.reviews.service.REASONS`.
REVIEW_REFUSALS = ("private", "off_topic", "offensive", "advertising")
