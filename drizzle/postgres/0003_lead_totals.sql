-- Written by hand: the schema's language has no words for triggers.
-- A connection counts in a part of its own, so that transactions on one lead need not wait for each other.
CREATE FUNCTION "count_recording"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO "lead_totals" ("lead_id", "part", "recordings") VALUES (old."lead_id", pg_backend_pid() % 16, -1)
      ON CONFLICT ("lead_id", "part") DO UPDATE SET "recordings" = "lead_totals"."recordings" - 1;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO "lead_totals" ("lead_id", "part", "recordings") VALUES (new."lead_id", pg_backend_pid() % 16, 1)
      ON CONFLICT ("lead_id", "part") DO UPDATE SET "recordings" = "lead_totals"."recordings" + 1;
  END IF;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER "recording_counted" AFTER INSERT OR DELETE OR UPDATE OF "lead_id" ON "recordings"
  FOR EACH ROW EXECUTE FUNCTION "count_recording"();
--> statement-breakpoint
INSERT INTO "lead_totals" ("lead_id", "part", "recordings")
  SELECT "lead_id", 0, count(*) FROM "recordings" GROUP BY "lead_id"
  ON CONFLICT ("lead_id", "part") DO UPDATE SET "recordings" = "lead_totals"."recordings" + excluded."recordings";
