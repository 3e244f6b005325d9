CREATE TABLE `call_logs` (
	`id` text PRIMARY KEY NOT NULL,
	`lead_id` text NOT NULL,
	`started_at_ms` integer,
	`duration_seconds` real,
	`direction` text,
	`created_at_ms` integer NOT NULL,
	`updated_at_ms` integer NOT NULL,
	FOREIGN KEY (`lead_id`) REFERENCES `leads`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `call_logs_lead` ON `call_logs` (`lead_id`);--> statement-breakpoint
CREATE TABLE `chunks` (
	`upload_id` text NOT NULL,
	`chunk_index` integer NOT NULL,
	`size` integer NOT NULL,
	`position` integer,
	`file` text,
	PRIMARY KEY(`upload_id`, `chunk_index`),
	FOREIGN KEY (`upload_id`) REFERENCES `uploads`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE TABLE `leads` (
	`id` text PRIMARY KEY NOT NULL,
	`telecaller_id` text NOT NULL,
	`name` text,
	`created_at_ms` integer NOT NULL,
	`updated_at_ms` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `recordings` (
	`id` text PRIMARY KEY NOT NULL,
	`upload_id` text NOT NULL,
	`lead_id` text NOT NULL,
	`call_log_id` text NOT NULL,
	`telecaller_id` text NOT NULL,
	`filename` text NOT NULL,
	`path` text NOT NULL,
	`content_type` text NOT NULL,
	`size` integer NOT NULL,
	`sha256` text NOT NULL,
	`duration_seconds` real,
	`media_check` text NOT NULL,
	`created_at_ms` integer NOT NULL,
	FOREIGN KEY (`lead_id`) REFERENCES `leads`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`call_log_id`) REFERENCES `call_logs`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `recordings_upload` ON `recordings` (`upload_id`);--> statement-breakpoint
CREATE UNIQUE INDEX `recordings_path` ON `recordings` (`path`);--> statement-breakpoint
CREATE INDEX `recordings_newest` ON `recordings` (`lead_id`,`created_at_ms`,`id`);--> statement-breakpoint
CREATE INDEX `recordings_call_log` ON `recordings` (`call_log_id`,`created_at_ms`,`id`);--> statement-breakpoint
CREATE TABLE `uploads` (
	`id` text PRIMARY KEY NOT NULL,
	`door` text NOT NULL,
	`lead_id` text NOT NULL,
	`call_log_id` text,
	`caller_id` text NOT NULL,
	`caller_role` text NOT NULL,
	`filename` text,
	`metadata` text,
	`length` integer,
	`offset` integer DEFAULT 0 NOT NULL,
	`state` text DEFAULT 'receiving' NOT NULL,
	`key` text,
	`recording_id` text,
	`concat` text,
	`expected_sha256` text,
	`idempotency_key` text,
	`idempotency_fingerprint` text,
	`created_at_ms` integer NOT NULL,
	`last_byte_at_ms` integer NOT NULL,
	FOREIGN KEY (`lead_id`) REFERENCES `leads`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`call_log_id`) REFERENCES `call_logs`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `uploads_idempotency` ON `uploads` (`caller_id`,`lead_id`,`idempotency_key`);--> statement-breakpoint
CREATE INDEX `uploads_open` ON `uploads` (`caller_id`) WHERE state in ('receiving', 'finishing');--> statement-breakpoint
CREATE INDEX `uploads_by_age` ON `uploads` (`state`,`last_byte_at_ms`);