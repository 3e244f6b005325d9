CREATE TABLE "attempts" (
	"upload_id" text COLLATE "C" NOT NULL,
	"key" text COLLATE "C" NOT NULL,
	CONSTRAINT "attempts_upload_id_key_pk" PRIMARY KEY("upload_id","key")
);
--> statement-breakpoint
CREATE TABLE "call_logs" (
	"id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"lead_id" text COLLATE "C" NOT NULL,
	"started_at_ms" bigint,
	"duration_seconds" double precision,
	"direction" text COLLATE "C",
	"created_at_ms" bigint NOT NULL,
	"updated_at_ms" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "chunks" (
	"upload_id" text COLLATE "C" NOT NULL,
	"chunk_index" bigint NOT NULL,
	"size" bigint NOT NULL,
	"position" bigint,
	"file" text COLLATE "C",
	CONSTRAINT "chunks_upload_id_chunk_index_pk" PRIMARY KEY("upload_id","chunk_index")
);
--> statement-breakpoint
CREATE TABLE "claims" (
	"upload_id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"instance" text COLLATE "C" NOT NULL,
	"nonce" text COLLATE "C" NOT NULL,
	"since_ms" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "leads" (
	"id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"telecaller_id" text COLLATE "C" NOT NULL,
	"name" text COLLATE "C",
	"created_at_ms" bigint NOT NULL,
	"updated_at_ms" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "recordings" (
	"id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"upload_id" text COLLATE "C" NOT NULL,
	"lead_id" text COLLATE "C" NOT NULL,
	"call_log_id" text COLLATE "C" NOT NULL,
	"telecaller_id" text COLLATE "C" NOT NULL,
	"filename" text COLLATE "C" NOT NULL,
	"path" text COLLATE "C" NOT NULL,
	"content_type" text COLLATE "C" NOT NULL,
	"size" bigint NOT NULL,
	"sha256" text COLLATE "C" NOT NULL,
	"duration_seconds" double precision,
	"media_check" text COLLATE "C" NOT NULL,
	"plays_in_browsers" boolean,
	"created_at_ms" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "segments" (
	"upload_id" text COLLATE "C" NOT NULL,
	"position" bigint NOT NULL,
	"size" bigint NOT NULL,
	"name" text COLLATE "C" NOT NULL,
	CONSTRAINT "segments_upload_id_position_pk" PRIMARY KEY("upload_id","position")
);
--> statement-breakpoint
CREATE TABLE "tombstones" (
	"path" text COLLATE "C" PRIMARY KEY NOT NULL
);
--> statement-breakpoint
CREATE TABLE "transactions" (
	"connection" text COLLATE "C" PRIMARY KEY NOT NULL,
	"number" bigint NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "uploads" (
	"id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"door" text COLLATE "C" NOT NULL,
	"lead_id" text COLLATE "C" NOT NULL,
	"call_log_id" text COLLATE "C",
	"caller_id" text COLLATE "C" NOT NULL,
	"caller_role" text COLLATE "C" NOT NULL,
	"filename" text COLLATE "C",
	"metadata" text COLLATE "C",
	"length" bigint,
	"offset" bigint DEFAULT 0 NOT NULL,
	"state" text COLLATE "C" DEFAULT 'receiving' NOT NULL,
	"key" text COLLATE "C",
	"recording_id" text COLLATE "C",
	"concat" text COLLATE "C",
	"part_ids" text COLLATE "C",
	"final_id" text COLLATE "C",
	"expected_sha256" text COLLATE "C",
	"idempotency_key" text COLLATE "C",
	"idempotency_fingerprint" text COLLATE "C",
	"created_at_ms" bigint NOT NULL,
	"last_byte_at_ms" bigint NOT NULL
);
--> statement-breakpoint
ALTER TABLE "attempts" ADD CONSTRAINT "attempts_upload_id_uploads_id_fk" FOREIGN KEY ("upload_id") REFERENCES "public"."uploads"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "call_logs" ADD CONSTRAINT "call_logs_lead_id_leads_id_fk" FOREIGN KEY ("lead_id") REFERENCES "public"."leads"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "chunks" ADD CONSTRAINT "chunks_upload_id_uploads_id_fk" FOREIGN KEY ("upload_id") REFERENCES "public"."uploads"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "recordings" ADD CONSTRAINT "recordings_lead_id_leads_id_fk" FOREIGN KEY ("lead_id") REFERENCES "public"."leads"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "recordings" ADD CONSTRAINT "recordings_call_log_id_call_logs_id_fk" FOREIGN KEY ("call_log_id") REFERENCES "public"."call_logs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "segments" ADD CONSTRAINT "segments_upload_id_uploads_id_fk" FOREIGN KEY ("upload_id") REFERENCES "public"."uploads"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "uploads" ADD CONSTRAINT "uploads_lead_id_leads_id_fk" FOREIGN KEY ("lead_id") REFERENCES "public"."leads"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "uploads" ADD CONSTRAINT "uploads_call_log_id_call_logs_id_fk" FOREIGN KEY ("call_log_id") REFERENCES "public"."call_logs"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "call_logs_lead" ON "call_logs" USING btree ("lead_id");--> statement-breakpoint
CREATE UNIQUE INDEX "recordings_upload" ON "recordings" USING btree ("upload_id");--> statement-breakpoint
CREATE UNIQUE INDEX "recordings_path" ON "recordings" USING btree ("path");--> statement-breakpoint
CREATE INDEX "recordings_newest" ON "recordings" USING btree ("lead_id","created_at_ms","id");--> statement-breakpoint
CREATE INDEX "recordings_call_log" ON "recordings" USING btree ("call_log_id","created_at_ms","id");--> statement-breakpoint
CREATE UNIQUE INDEX "uploads_idempotency" ON "uploads" USING btree ("caller_id","lead_id","idempotency_key") WHERE idempotency_key is not null;--> statement-breakpoint
CREATE INDEX "uploads_open" ON "uploads" USING btree ("caller_id") WHERE state in ('receiving', 'finishing');