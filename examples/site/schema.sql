CREATE TABLE flavours (
    id INTEGER PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    price_cents INTEGER NOT NULL
);

CREATE TABLE sizes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    extra_cents INTEGER NOT NULL
);

CREATE TABLE flavour_sizes (
    flavour_id INTEGER NOT NULL REFERENCES flavours,
    size_id INTEGER NOT NULL REFERENCES sizes,
    UNIQUE (flavour_id, size_id)
);

CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    flavour_id INTEGER NOT NULL,
    size_id INTEGER NOT NULL,
    quantity INTEGER NOT NULL
);

INSERT INTO flavours (slug, name, description, price_cents) VALUES
    ('vanilla', 'Vanilla', 'Bourbon vanilla from Madagascar, and nothing else.', 300),
    ('chocolate', 'Chocolate', 'Seventy per cent cocoa.', 320),
    ('strawberry', 'Strawberry', 'When strawberries are in season.', 320),
    ('pistachio', 'Pistachio', 'Green only as far as the nuts are.', 390),
    ('hazelnut', 'Hazelnut', 'Roasted in the shop.', 350),
    ('lemon', 'Lemon', 'A sorbet, without milk.', 280),
    ('mango', 'Mango', 'A sorbet of ripe fruit.', 300),
    ('stracciatella', 'Stracciatella', 'Milk ice with chips of chocolate.', 330),
    ('salted-caramel', 'Salted Caramel', 'Butter, sugar & sea salt.', 360),
    ('mint', 'Mint', 'With fresh leaves.', 310),
    ('coffee', 'Coffee', 'Keeps you awake.', 340),
    ('rum-and-raisin', 'Rum & Raisin', 'For adults.', 370);

INSERT INTO sizes (name, extra_cents) VALUES ('Cone', 0), ('Cup', 50), ('Half litre', 590), ('Litre', 1090);

-- Every flavor comes in a cone and a cup. The first six, the popular ones, also come by the half liter and the liter.
INSERT INTO flavour_sizes (flavour_id, size_id)
SELECT f.id, s.id FROM flavours f CROSS JOIN sizes s WHERE s.id <= 2 OR f.id <= 6;

-- The orders are the same in every database: a Lehmer generator computes `pick`.
WITH RECURSIVE n (id, pick) AS (
    SELECT 1, 48271
    UNION ALL
    SELECT id + 1, pick * 48271 % 2147483647 FROM n WHERE id < 80000
)
INSERT INTO orders (id, flavour_id, size_id, quantity)
SELECT n.id, o.flavour_id, o.size_id, 1 + n.pick % 3
FROM n JOIN flavour_sizes o ON o.rowid = 1 + n.pick / 7 % (SELECT count(*) FROM flavour_sizes);
