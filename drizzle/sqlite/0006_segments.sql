CREATE TABLE `attempts` (
	`upload_id` text NOT NULL,
	`key` text NOT NULL,
	PRIMARY KEY(`upload_id`, `key`),
	FOREIGN KEY (`upload_id`) REFERENCES `uploads`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `segments` (
	`upload_id` text NOT NULL,
	`position` integer NOT NULL,
	`size` integer NOT NULL,
	`name` text NOT NULL,
	PRIMARY KEY(`upload_id`, `position`),
	FOREIGN KEY (`upload_id`) REFERENCES `uploads`(`id`) ON UPDATE no action ON DELETE no action
);
