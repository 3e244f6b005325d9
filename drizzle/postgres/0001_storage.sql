-- Written by hand: the schema's language has no words for how a table is stored.
-- What claims say is void after a crash, so their table is not logged.
ALTER TABLE "claims" SET UNLOGGED;--> statement-breakpoint
-- An offset is committed in its row's own page as long as that has room.
ALTER TABLE "uploads" SET (fillfactor = 70);--> statement-breakpoint
ALTER TABLE "transactions" SET (fillfactor = 50);
