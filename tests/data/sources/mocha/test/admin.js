const assert = require('assert');

describe('Admin console', function () {
  describe('Products', function () {
    it('TC1071: lists products', () => {});
    it('imports a CSV of 1000 products', () => assert.strictEqual(998, 1000, 'two lines were lost'));
    it.skip('TC1072: exports to Excel', () => {});
    it('pending without a body');
  });
  describe('Users', function () {
    before('seed users', () => { throw new Error('cannot seed: duplicate key "admin"'); });
    it('TC1073: locks a user after five tries', () => {});
    it('resets a password', () => {});
  });
  describe('Products', function () {
    it('TC1071: lists products', () => {});
  });
});
