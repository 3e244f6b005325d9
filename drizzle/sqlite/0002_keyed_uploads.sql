DROP INDEX `uploads_idempotency`;--> statement-breakpoint
CREATE UNIQUE INDEX `uploads_idempotency` ON `uploads` (`caller_id`,`lead_id`,`idempotency_key`) WHERE idempotency_key is not null;