-- The demo's tables: countries and devices from the CSV files of testdata, which are mounted at /testdata, and the
-- characteristics that follow from them, 252 countries by 23 kinds of browser. Run once, by the image, on an empty volume.
BEGIN;

CREATE TABLE countries (
  country char(2) PRIMARY KEY, name text NOT NULL, continent text NOT NULL, currency text NOT NULL, languages text NOT NULL);
CREATE TABLE devices (
  device_id int PRIMARY KEY, os text NOT NULL, os_version text NOT NULL, browser text NOT NULL, cat text NOT NULL,
  vendor text NOT NULL, screen_width int NOT NULL, screen_height int NOT NULL, weight float8 NOT NULL, user_agent text NOT NULL);
CREATE TABLE characteristics (
  country text, os text, browser text, cat text, payload jsonb NOT NULL,
  PRIMARY KEY (country, os, browser, cat));

COPY countries FROM '/testdata/countries.csv' WITH (FORMAT csv, HEADER, FORCE_NOT_NULL (currency, languages));
COPY devices FROM PROGRAM 'gzip -dc /testdata/devices.csv.gz' WITH (FORMAT csv, HEADER, FORCE_NOT_NULL (os_version, vendor));

-- Which formats an ad may have depends on the kind of device; currency and languages come from the country, the first two
-- languages at most. Where a country has none, as Antarctica, dollars and English have to do.
INSERT INTO characteristics
SELECT c.country, d.os, d.browser, d.cat,
       CASE
         WHEN d.cat = 'tablet' THEN '{"size": "medium", "formats": ["728x90", "300x250", "video"]}'::jsonb
         WHEN d.cat = 'mobile' AND d.os = 'ios' THEN '{"size": "small", "formats": ["320x50", "300x250", "hls"]}'
         WHEN d.cat = 'mobile' THEN '{"size": "small", "formats": ["320x50", "300x250", "webm"]}'
         ELSE '{"size": "large", "formats": ["728x90", "970x250", "300x600", "video"]}'
       END
       || jsonb_build_object(
            'currency', coalesce(nullif(split_part(c.currency, ';', 1), ''), 'USD'),
            'languages', to_jsonb((string_to_array(coalesce(nullif(c.languages, ''), 'en'), ';'))[1:2]))
FROM countries c
CROSS JOIN (SELECT DISTINCT os, browser, cat FROM devices) d;

-- What swordfishd connects as: it only reads.
CREATE ROLE swordfish LOGIN PASSWORD 'swordfish';
GRANT SELECT ON countries, devices, characteristics TO swordfish;

COMMIT;
ANALYZE;
