CREATE TABLE `lead_totals` (
	`lead_id` text NOT NULL,
	`part` integer NOT NULL,
	`recordings` integer NOT NULL,
	PRIMARY KEY(`lead_id`, `part`),
	FOREIGN KEY (`lead_id`) REFERENCES `leads`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
DROP INDEX `call_logs_lead`;--> statement-breakpoint
CREATE INDEX `call_logs_of_lead` ON `call_logs` (`lead_id`,(case when started_at_ms is null then created_at_ms else started_at_ms end),`id`);--> statement-breakpoint
CREATE INDEX `call_logs_newest` ON `call_logs` ((case when started_at_ms is null then created_at_ms else started_at_ms end),`id`);--> statement-breakpoint
CREATE INDEX `leads_newest` ON `leads` (`created_at_ms`,`id`);--> statement-breakpoint
CREATE INDEX `leads_telecaller` ON `leads` (`telecaller_id`,`created_at_ms`,`id`);--> statement-breakpoint
CREATE INDEX `leads_updated` ON `leads` (`updated_at_ms`,`id`);--> statement-breakpoint
CREATE INDEX `recordings_all` ON `recordings` (`created_at_ms`,`id`);--> statement-breakpoint
CREATE INDEX `recordings_telecaller` ON `recordings` (`telecaller_id`,`created_at_ms`,`id`);--> statement-breakpoint
CREATE INDEX `recordings_sha256` ON `recordings` (`sha256`,`created_at_ms`,`id`);