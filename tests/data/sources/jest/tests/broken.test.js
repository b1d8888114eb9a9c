const missing = require('../src/wishlist');  // the module is not there: the file does not load

test('TC1007: wishlist', () => expect(missing.list()).toEqual([]));
