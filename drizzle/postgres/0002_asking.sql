CREATE TABLE "lead_totals" (
	"lead_id" text COLLATE "C" NOT NULL,
	"part" bigint NOT NULL,
	"recordings" bigint NOT NULL,
	CONSTRAINT "lead_totals_lead_id_part_pk" PRIMARY KEY("lead_id","part")
);
--> statement-breakpoint
DROP INDEX "call_logs_lead";--> statement-breakpoint
ALTER TABLE "lead_totals" ADD CONSTRAINT "lead_totals_lead_id_leads_id_fk" FOREIGN KEY ("lead_id") REFERENCES "public"."leads"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "call_logs_of_lead" ON "call_logs" USING btree ("lead_id",(case when started_at_ms is null then created_at_ms else started_at_ms end),"id");--> statement-breakpoint
CREATE INDEX "call_logs_newest" ON "call_logs" USING btree ((case when started_at_ms is null then created_at_ms else started_at_ms end),"id");--> statement-breakpoint
CREATE INDEX "leads_newest" ON "leads" USING btree ("created_at_ms","id");--> statement-breakpoint
CREATE INDEX "leads_telecaller" ON "leads" USING btree ("telecaller_id","created_at_ms","id");--> statement-breakpoint
CREATE INDEX "leads_updated" ON "leads" USING btree ("updated_at_ms","id");--> statement-breakpoint
CREATE INDEX "recordings_all" ON "recordings" USING btree ("created_at_ms","id");--> statement-breakpoint
CREATE INDEX "recordings_telecaller" ON "recordings" USING btree ("telecaller_id","created_at_ms","id");--> statement-breakpoint
CREATE INDEX "recordings_sha256" ON "recordings" USING btree ("sha256","created_at_ms","id");